"""An explanation as JSON, and the model of that."""

from typing import Literal

from pylon_workflows.api.schemas import Shape
from pylon_workflows.core.instance import Status
from pylon_workflows.explain.shapes import Explanation, OtherKeys, Reason
from runner_protocol.fields import Timestamp, format_timestamp
from runner_protocol.strict_json import encode_parsed


class NearMissAnswer(Shape):
    """An event that is there and is not the one that is waited for; `where` it is, and why it is not taken."""

    event: str
    received_at: Timestamp | None
    where: Literal["inbox", "kept"]
    why: str


class KeptUnderAnswer(Shape):
    """A correlation key under which events of that name are kept, and when the last of them came."""

    correlation: str
    received_at: Timestamp


class OtherKeysAnswer(Shape):
    """Events of the name that is waited for, kept under other keys: how many of the newest 1,000, and the last keys."""

    count: int
    newest: list[KeptUnderAnswer]


class SaidAnswer(Shape):
    """What the runner last said about an instance, or why it says nothing, and since when."""

    at: Timestamp
    text: str


class ExplanationAnswer(Shape):
    """Why an instance is where it is: in a sentence, since when, when it goes on by itself, what would let it go on."""

    id: str
    name: str
    status: Status
    revision: int
    reason: Reason
    summary: str
    since: Timestamp | None
    next_at: Timestamp | None
    waiting_for: str | None
    ways_on: list[str]
    runner_said: SaidAnswer | None
    near_misses: list[NearMissAnswer]
    other_keys: OtherKeysAnswer | None
    unread_events: int


def explanation_json(explanation: Explanation) -> bytes:
    """The explanation."""
    said, since, next_at = explanation.runner_said, explanation.since, explanation.next_at
    members = {
        "id": explanation.id,
        "name": explanation.name,
        "status": explanation.status.value,
        "revision": explanation.revision,
        "reason": explanation.reason.value,
        "summary": explanation.summary,
        "since": None if since is None else format_timestamp(since),
        "next_at": None if next_at is None else format_timestamp(next_at),
        "waiting_for": explanation.waiting_for,
        "ways_on": list(explanation.ways_on),
        "runner_said": None if said is None else {"at": format_timestamp(said.at), "text": said.text},
        "near_misses": [
            {
                "event": miss.event,
                "received_at": None if miss.received_at is None else format_timestamp(miss.received_at),
                "where": miss.where,
                "why": miss.why,
            }
            for miss in explanation.near_misses
        ],
        "other_keys": None if explanation.other_keys is None else _other_keys(explanation.other_keys),
        "unread_events": explanation.unread_events,
    }
    return encode_parsed(members)


def _other_keys(other_keys: OtherKeys) -> dict[str, object]:
    newest = [
        {"correlation": each.correlation, "received_at": format_timestamp(each.received_at)}
        for each in other_keys.newest
    ]
    return {"count": other_keys.count, "newest": newest}
