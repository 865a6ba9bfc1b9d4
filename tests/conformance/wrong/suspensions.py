"""Runners that get sleeps and waits wrong."""

from collections.abc import Awaitable
from typing import Any

from ..reference import Asked, Turn
from . import fails


class PausedError(BaseException):
    pass


@fails(
    "sleep-is-not-asked-again",
    "a-plain-sleep-is-not-asked-again",
    "a-named-sleep-is-keyed-by-its-name",
    "a-pause-cannot-be-swallowed",
    "a-sleep-may-change-its-duration",
    "an-unnamed-sleep-is-keyed-sleep",
    "same-request-same-answer",
    "the-first-called-suspension-is-answered",
    "a-record-of-another-kind-diverges",
    "a-member-is-run-alone",
    "a-sleep-can-end-at-a-time",
    "a-stream-ends-with-what-suspends",
    "actions-say-what-they-come-after",
    "applied-notes-are-not-sent-again",
    "notes-go-with-the-next-action",
)
class SleepsTwice(Turn):
    """Takes the record of a sleep for its beginning, and waits for another one at its end."""

    def records(self) -> list[dict[str, Any]]:
        records = super().records()
        return records[:-1] if records and records[-1]["kind"] == "sleep" else records


@fails(
    "event-data-reaches-the-code",
    "a-plain-event-reaches-the-code",
    "an-event-is-keyed-by-its-name",
    "the-first-called-suspension-is-answered",
    "timed-out-wait-returns-null",
    "turns-of-different-instances-do-not-mix",
    "a-wait-can-fail-when-it-times-out",
    "a-call-of-a-hook-is-an-event",
)
class WrapsEventData(Turn):
    """Gives the code an envelope with the data in it."""

    def output(self, call: Asked, record: dict[str, Any]) -> Any:
        output = super().output(call, record)
        return {"event": record["name"], "data": output} if call.kind == "event" else output


@fails(
    "event-data-reaches-the-code",
    "timed-out-wait-returns-null",
)
class WritesNoNull(Turn):
    """Makes an empty object of null."""

    def output(self, call: Asked, record: dict[str, Any]) -> Any:
        output = super().output(call, record)
        return {} if call.kind == "event" and output is None else output


@fails(
    "a-plain-event-reaches-the-code",
    "an-event-is-keyed-by-its-name",
    "event-data-reaches-the-code",
    "the-first-called-suspension-is-answered",
    "timed-out-wait-returns-null",
    "turns-of-different-instances-do-not-mix",
    "a-wait-can-fail-when-it-times-out",
    "a-call-of-a-hook-is-an-event",
)
class LosesEventData(Turn):
    """Knows that an event came, but not what it said."""

    def output(self, call: Asked, record: dict[str, Any]) -> Any:
        return True if call.kind == "event" else super().output(call, record)


@fails(
    "timed-out-wait-returns-null",
    "a-decision-reaches-the-code",
    "a-wait-can-fail-when-it-times-out",
    "an-approval-can-fail-when-it-times-out",
    "an-uncaught-failure-of-a-child-fails-the-workflow",
)
class ThrowsOnTimeout(Turn):
    """Throws into the code when nothing came in time."""

    async def hand_out(self, call: Asked, record: dict[str, Any]) -> None:
        if record.get("timed_out"):
            self.handed_out.append(record)
            call.future.set_exception(TimeoutError("nothing came"))
        else:
            await super().hand_out(call, record)


@fails(
    "a-wait-carries-its-timeout",
    "a-wait-can-fail-when-it-times-out",
)
class WaitsForEver(Turn):
    """Forgets the timeout."""

    def wait_for_event(self, event: str, **options: Any) -> Awaitable[Any]:
        return super().wait_for_event(event, **{**options, "timeout": None})


@fails(
    "a-wait-carries-its-timeout",
)
class WaitsADay(Turn):
    """Has a timeout of its own where the code gives none."""

    def wait_for_event(self, event: str, **options: Any) -> Awaitable[Any]:
        return super().wait_for_event(event, **{**options, "timeout": options.get("timeout") or "1d"})


@fails(
    "steps-come-before-suspensions",
    "groups-and-waits-called-together-take-turns",
    "the-next-run-begins-with-its-input",
    "the-next-run-comes-before-what-suspends",
)
class AnswersTheFirstCalled(Turn):
    """Suspends while a step could run."""

    def choose(self, pending: list[Asked]) -> Asked:
        return pending[0]


@fails(
    "the-first-called-suspension-is-answered",
    "groups-and-waits-called-together-take-turns",
)
class AnswersTheLastSuspension(Turn):
    """Of several suspensions answers the last called."""

    def choose(self, pending: list[Asked]) -> Asked:
        first = super().choose(pending)
        return first if first.kind in ("step", "skip", "continue_as_new") else pending[-1]


@fails(
    "a-pause-cannot-be-swallowed",
    "a-skip-is-a-line-like-a-steps",
)
class PausesByThrowing(Turn):
    """Throws into the code to leave it, and takes what the code makes of it for its result."""

    async def act(self, call: Asked) -> dict[str, Any]:
        if call.kind == "step":
            return await super().act(call)
        call.future.set_exception(PausedError())
        await self.settle()
        if self.task.done() and self.task.exception() is None:
            return self.ending()
        return await super().act(call)
