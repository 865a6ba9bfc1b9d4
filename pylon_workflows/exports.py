"""An instance as one JSON document, to be kept, imported into another file, or replayed against new code.

docs/export.md is the format. Each transition of the history is one line, as `transition_json` writes it.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from importlib.metadata import version
from typing import Any

from pylon_workflows.core.evolution import replay
from pylon_workflows.core.instance import Instance
from pylon_workflows.core.revisions import numbered
from pylon_workflows.core.transitions import EarlierRunsDeleted, InstanceStarted, Transition
from pylon_workflows.errors import InvalidInputError
from pylon_workflows.possible_transitions import check_transition
from pylon_workflows.transition_json import HistoryFormatError, exact_time, transition_from, transition_json
from runner_protocol.strict_json import MAX_DEPTH, JsonError, encode_parsed, parse

FORMAT = "pylon-workflows instance"
FORMAT_VERSION = 1

_ENVELOPE = 6
"""How deep a value may stand in the document: in a history, a transition, and a list of members."""


def export_head(exported_at: datetime) -> bytes:
    """How a document begins, up to its first transition."""
    members = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "exported_at": exact_time(exported_at),
        "exported_by": f"pylon-workflows {version('pylon-workflows')}",
    }
    return encode_parsed(members)[:-1] + b',"history":[\n'


def export_lines(transitions: Iterable[Transition], *, after: int = 0) -> Iterator[bytes]:
    """The lines of transitions that follow a revision, each but the first one's end by a comma before it."""
    for revision, transition in numbered(transitions, after=after):
        yield (b",\n" if revision > 1 else b"") + transition_json(revision, transition)


EXPORT_END = b"\n]}\n"


def exported(history: Iterable[Transition], exported_at: datetime) -> bytes:
    """The whole document."""
    return b"".join((export_head(exported_at), *export_lines(history), EXPORT_END))


def read_export(document: bytes | str) -> tuple[Instance, Sequence[Transition]]:
    """The instance of a document, and its history, which adds up to it.

    Raises:
        InvalidInputError: no such document, of a newer format, or its history is none.
    """
    try:
        value = parse(document, max_depth=MAX_DEPTH + _ENVELOPE)
    except JsonError as error:
        raise InvalidInputError(f"the document: {error}") from None
    history = list(_transitions(_checked_head(value)))
    if not history or not isinstance(history[0], InstanceStarted):
        raise InvalidInputError("history: should begin with instance_started")
    if any(isinstance(each, InstanceStarted) for each in history[1:]):
        raise InvalidInputError("history: should begin once")
    try:
        instance = replay(history)
    except Exception as error:  # whatever a history may say that none says, the fold has not foreseen
        raise InvalidInputError(f"history: does not add up: {error!r}") from error
    return instance, history


def _checked_head(value: Any) -> list[Any]:
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise InvalidInputError(f"format: should be {FORMAT!r}; this is no exported instance")
    number = value.get("format_version")
    if type(number) is not int or number < 1:
        raise InvalidInputError("format_version: should be a whole number from 1")
    if number > FORMAT_VERSION:
        raise InvalidInputError(f"format_version: {number} is a newer release's; this one reads {FORMAT_VERSION}")
    history = value.get("history")
    if not isinstance(history, list):
        raise InvalidInputError("history: should be a list")
    return history


def _transitions(history: list[Any]) -> Iterator[Transition]:
    expected = 1
    for place, value in enumerate(history, 1):
        try:
            revision, transition = transition_from(value)
            check_transition(transition)
        except (HistoryFormatError, InvalidInputError) as error:
            raise InvalidInputError(f"history.{place}.{error}") from None
        if isinstance(transition, EarlierRunsDeleted) and expected <= transition.replaces:
            expected = transition.replaces
        if revision != expected:
            raise InvalidInputError(f"history.{place}.revision: should be {expected}, not {revision}")
        expected += 1
        yield transition
