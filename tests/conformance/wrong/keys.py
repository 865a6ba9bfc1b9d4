"""Runners that get names and keys wrong."""

from collections import Counter
from collections.abc import Awaitable, Callable, Generator
from functools import cached_property
from typing import Any

from ..reference import Asked, Turn
from . import fails


@fails(
    "repeated-names-get-numbered-keys",
    "a-history-of-a-thousand-records",
    "a-shortened-workflow-diverges",
    "a-step-gets-its-idempotency-key",
    "an-event-is-keyed-by-its-name",
    "an-unnamed-sleep-is-keyed-sleep",
    "big-integers-and-doubles-survive",
    "each-turn-of-a-loop-gets-its-own-output",
    "keys-are-given-at-the-call",
    "record-fields-with-defaults-may-be-missing",
    "records-are-handed-out-in-recorded-order",
    "falsy-values-survive",
    "keys-of-all-kinds-are-one-space",
    "a-decision-reaches-the-code",
    "a-map-sends-its-items",
    "a-parallel-names-its-members",
    "a-skipped-step-says-why",
    "a-wait-can-match-and-have-an-address",
    "an-approval-asks-for-a-decision",
    "live-results-are-handed-out-like-records",
    "the-output-of-a-child-reaches-the-code",
)
class NumbersNoKeys(Turn):
    """Gives all calls of a name one key."""

    def key(self, base: str) -> str:
        return base


@fails(
    "repeated-names-get-numbered-keys",
    "a-history-of-a-thousand-records",
    "a-shortened-workflow-diverges",
    "a-step-gets-its-idempotency-key",
    "an-event-is-keyed-by-its-name",
    "an-unnamed-sleep-is-keyed-sleep",
    "big-integers-and-doubles-survive",
    "each-turn-of-a-loop-gets-its-own-output",
    "keys-are-given-at-the-call",
    "record-fields-with-defaults-may-be-missing",
    "records-are-handed-out-in-recorded-order",
    "falsy-values-survive",
    "keys-of-all-kinds-are-one-space",
    "a-decision-reaches-the-code",
    "a-map-sends-its-items",
    "a-parallel-names-its-members",
    "a-skipped-step-says-why",
    "a-wait-can-match-and-have-an-address",
    "an-approval-asks-for-a-decision",
    "live-results-are-handed-out-like-records",
    "the-output-of-a-child-reaches-the-code",
)
class NumbersFromOne(Turn):
    """Counts from `name#1`."""

    def key(self, base: str) -> str:
        key = super().key(base)
        name, mark, number = key.rpartition("#")
        return f"{name}#{int(number) - 1}" if mark else key


@fails(
    "each-turn-of-a-loop-gets-its-own-output",
    "an-event-is-keyed-by-its-name",
    "big-integers-and-doubles-survive",
    "keys-are-given-at-the-call",
    "record-fields-with-defaults-may-be-missing",
    "records-are-handed-out-in-recorded-order",
    "falsy-values-survive",
    "a-decision-reaches-the-code",
    "a-group-called-beside-steps-comes-last",
    "a-skip-is-a-line-like-a-steps",
    "a-slow-step-is-announced",
    "a-stream-can-be-cut-anywhere",
    "a-stream-ends-with-what-suspends",
    "after-a-failure-nothing-begins",
    "an-answer-can-be-a-stream",
    "an-attempt-in-a-stream-knows-its-number",
    "an-error-of-the-code-waits-for-steps-that-run",
    "gathered-steps-run-at-the-same-time",
    "lines-say-what-they-come-after",
    "live-results-are-handed-out-like-records",
    "notes-go-with-the-next-line",
    "nothing-is-suspended-while-a-step-runs",
)
class LooksUpByName(Turn):
    """Finds a record by its name, so that a loop sees the first output for ever."""

    def output(self, call: Asked, record: dict[str, Any]) -> Any:
        return next(first["output"] for first in self.records() if first["name"] == record["name"])


@fails(
    "names-in-unicode",
)
class HasAsciiKeys(Turn):
    """Makes an identifier of a name."""

    def key(self, base: str) -> str:
        return super().key(base.encode("ascii", "replace").decode())


@fails(
    "a-name-that-looks-like-a-key-is-refused",
    "names-of-all-helpers-are-checked",
    "notes-go-with-a-failure-of-the-code",
)
class TakesAnyName(Turn):
    """Lets an author write names that are keys of something else."""

    def check_name(self, name: str) -> None:
        pass


class Lazy:
    """A call that is made when it is awaited."""

    def __init__(self, make: Callable[[], Awaitable[Any]]) -> None:
        self.make = make

    def __await__(self) -> Generator[Any, Any, Any]:
        return self.make().__await__()


@fails(
    "keys-are-given-at-the-call",
    "keys-of-all-kinds-are-one-space",
)
class GivesKeysWhenAwaited(Turn):
    """Gives a key when the result is awaited."""

    def step(self, name: str, body: Callable[..., Any], *args: Any, **options: Any) -> Awaitable[Any]:
        make = super().step
        return Lazy(lambda: make(name, body, *args, **options))


@fails(
    "an-unnamed-sleep-is-keyed-sleep",
    "a-sleep-may-change-its-duration",
    "a-finished-workflow-completes",
    "a-pause-cannot-be-swallowed",
    "a-plain-event-reaches-the-code",
    "a-plain-sleep-is-not-asked-again",
    "same-request-same-answer",
    "sleep-is-not-asked-again",
    "the-first-called-suspension-is-answered",
    "turns-of-different-instances-do-not-mix",
    "keys-of-all-kinds-are-one-space",
    "a-member-is-run-alone",
    "a-sleep-can-end-at-a-time",
    "a-stream-ends-with-what-suspends",
    "actions-say-what-they-come-after",
    "after-a-failure-nothing-begins",
    "applied-notes-are-not-sent-again",
    "notes-go-with-the-next-action",
    "nothing-is-suspended-while-a-step-runs",
    "the-next-run-comes-before-what-suspends",
)
class KeysSleepsByDuration(Turn):
    """Makes the duration a part of the key."""

    def sleep_base(self, duration: str, name: str | None) -> str:
        return f"sleep:{name or duration}"


@fails(
    "a-named-sleep-is-keyed-by-its-name",
    "a-sleep-can-end-at-a-time",
)
class ForgetsTheNameOfASleep(Turn):
    """Keys every sleep alike."""

    def sleep_base(self, duration: str, name: str | None) -> str:
        return "sleep"


@fails(
    "a-sleep-may-change-its-duration",
    "a-sleep-can-end-at-a-time",
)
class ComparesDurations(Turn):
    """Takes a sleep that was given another duration for another sleep."""

    def find(self, record: dict[str, Any]) -> Asked | None:
        call = super().find(record)
        return None if call and call.kind == "sleep" and call.name != record["name"] else call


@fails(
    "an-event-is-keyed-by-its-name",
    "a-finished-workflow-completes",
    "a-plain-event-reaches-the-code",
    "event-data-reaches-the-code",
    "the-first-called-suspension-is-answered",
    "timed-out-wait-returns-null",
    "turns-of-different-instances-do-not-mix",
    "a-wait-can-fail-when-it-times-out",
    "a-wait-can-match-and-have-an-address",
    "actions-say-what-they-come-after",
    "an-uncaught-failure-of-a-child-fails-the-workflow",
    "groups-and-waits-called-together-take-turns",
    "a-call-of-a-hook-is-an-event",
)
class KeysEventsLikeSteps(Turn):
    """Leaves `event:` out of the key."""

    def event_base(self, event: str) -> str:
        return event


@fails(
    "keys-of-all-kinds-are-one-space",
)
class NumbersEachKindAlone(Turn):
    """Gives a sleep a key that a step has."""

    def call(self, kind: str, name: str, fields: dict[str, Any], **more: Any) -> Awaitable[Any]:
        used, self.used = self.used, self.numbers_of.setdefault(kind, Counter())
        try:
            return super().call(kind, name, fields, **more)
        finally:
            self.used = used

    @cached_property
    def numbers_of(self) -> dict[str, Counter[str]]:
        return {}


@fails(
    "names-in-unicode",
)
class CountsUtf16Units(Turn):
    """Measures a name as JavaScript measures a string."""

    def check_name(self, name: str) -> None:
        super().check_name(name)
        if len(name.encode("utf-16-le")) > 2 * 128:
            raise ValueError("the name is too long")
