"""Events that are there and are not the one that an instance waits for: the likeliest mistakes of a sender."""

import json
from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import Any

from pylon_workflows.core.deciding.matching import MISSING, mismatches
from pylon_workflows.core.instance import EventWait, InboxEvent, Instance
from pylon_workflows.explain.shapes import Facts, KeptEvent, NearMiss, OtherKeys
from pylon_workflows.published import KeptUnder

MOST = 10
"""So many are told; of an inbox no more than its first 200 events are looked at, or a mebibyte of them."""

MOST_BYTES = 1024 * 1024
_LOOKED_AT = 200
_MOST_KEYS = 5
_LONGEST = 60


def near_misses(instance: Instance, facts: Facts) -> tuple[NearMiss, ...]:
    """The likeliest first: of the name that is waited for, then of names that resemble it, then the others."""
    wait = instance.wait
    if not isinstance(wait, EventWait):
        return ()
    found = [*_in_inbox(instance, wait, facts), *_kept(wait, facts)]
    found.sort(key=lambda miss: -_likeness(miss.event, wait.event))  # those that are alike stay in their order
    return tuple(found[:MOST])


def other_keys(facts: Facts) -> OtherKeys | None:
    """What is kept under other keys, if anything is."""
    newest: dict[str, KeptUnder] = {}
    for each in facts.under_other_keys:
        newest.setdefault(each.correlation, each)
    if not newest:
        return None
    return OtherKeys(count=len(facts.under_other_keys), newest=tuple(newest.values())[:_MOST_KEYS])


def closest(instance: Instance) -> list[InboxEvent]:
    """The unread events that `near_misses` would tell of, so that their times can be looked up."""
    wait = instance.wait
    if not isinstance(wait, EventWait):
        return []
    unread, size = [], 0
    for event in instance.inbox[:_LOOKED_AT]:
        size += len(event.data_json)
        if size > MOST_BYTES:
            break
        if _why_not(wait, event.event, event.data_json):
            unread.append(event)
    return sorted(unread, key=lambda event: -_likeness(event.event, wait.event))[:MOST]


def _in_inbox(instance: Instance, wait: EventWait, facts: Facts) -> Iterator[NearMiss]:
    for event in closest(instance):
        why = _why_not(wait, event.event, event.data_json)
        yield NearMiss(event=event.event, received_at=facts.received_at.get(event.revision), where="inbox", why=why)


def _kept(wait: EventWait, facts: Facts) -> Iterator[NearMiss]:
    for event in facts.kept:
        why = _why_not_kept(wait, event)
        if why:
            yield NearMiss(event=event.event, received_at=event.received_at, where="kept", why=why)


def _why_not_kept(wait: EventWait, event: KeptEvent) -> str:
    why = _why_not(wait, event.event, event.data_json)
    return f"has the correlation {wait.correlation!r}, but {why}" if why else ""


def _why_not(wait: EventWait, event: str, data_json: bytes) -> str:
    """Nothing when it is what is waited for."""
    if event != wait.event:
        return f"has another name than {wait.event!r}"
    if wait.match_json is None:
        return ""
    wrong = mismatches(json.loads(wait.match_json), data_json)
    return "does not match: " + ", ".join(_difference(*each) for each in wrong) if wrong else ""


def _difference(path: str, wanted: Any, found: Any) -> str:
    return f"{path} is {'missing' if found is MISSING else short_json(found)} and should be {short_json(wanted)}"


def short_json(value: Any) -> str:
    """JSON on one line, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _likeness(event: str, wanted: str) -> float:
    if event == wanted:
        return 2.0
    return SequenceMatcher(None, event.casefold(), wanted.casefold()).ratio()
