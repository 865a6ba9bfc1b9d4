"""Runners that get streams wrong."""

import asyncio
from typing import Any

from runner_protocol.conformance.exchange import Call, Reply

from ..front import Front, Lines
from ..reference import Asked, Turn
from . import fails


@fails(
    "a-completed-step-says-when-it-ran",
    "a-failed-attempt-is-run-again",
    "a-final-failure-can-be-caught",
    "a-history-of-a-thousand-records",
    "a-missing-mode-means-advance",
    "a-plain-event-reaches-the-code",
    "a-plain-failed-attempt-is-run-again",
    "a-recorded-step-never-runs-again",
    "a-retried-failure-of-a-renamed-step-is-no-divergence",
    "a-second-step-runs-after-the-first",
    "a-skipped-step-says-why",
    "a-slow-step-is-announced",
    "a-step-gets-its-idempotency-key",
    "a-wait-can-fail-when-it-times-out",
    "actions-say-what-they-come-after",
    "an-accept-that-names-no-stream-gets-one-object",
    "an-answer-is-one-json-object",
    "an-operation-is-recorded-with-kind-and-input",
    "applied-notes-are-not-sent-again",
    "attempt-number-counts-failures-of-its-key",
    "big-integers-and-doubles-survive",
    "broken-workflow-code-fails-without-step-name",
    "falsy-values-survive",
    "gathered-steps-run-one-a-turn",
    "groups-and-waits-called-together-take-turns",
    "keys-are-given-at-the-call",
    "keys-of-all-kinds-are-one-space",
    "names-in-unicode",
    "notes-go-with-the-next-action",
    "now-is-the-last-records-completed-at",
    "random-numbers-repeat",
    "recorded-outputs-reach-the-code",
    "records-are-handed-out-in-recorded-order",
    "repeated-names-get-numbered-keys",
    "same-request-same-answer",
    "steps-come-before-suspensions",
    "the-first-turn-runs-the-first-step",
    "the-next-run-begins-with-its-input",
    "turns-at-once-do-not-mix",
    "turns-of-different-instances-do-not-mix",
    "unknown-request-fields-are-ignored",
    "a-hook-url-is-the-same-in-each-turn",
    "a-signature-is-good-for-five-minutes",
    "an-unsigned-request-is-refused",
    "one-signature-of-several-is-enough",
    "a-failed-operation-is-replayed-like-a-step",
)
class StreamsWhateverIsAccepted(Front):
    """Does not look at what is accepted."""

    def accepts_lines(self, call: Call) -> bool:
        return True


@fails(
    "an-accept-that-names-no-stream-gets-one-object",
)
class ReadsNoWeights(Front):
    """Streams also for who says that it takes no stream."""

    def accepts_lines(self, call: Call) -> bool:
        return "application/x-ndjson" in call.headers.get("accept", "")


@fails(
    "a-change-of-the-code-is-the-only-line",
    "a-group-called-beside-steps-comes-last",
    "a-line-that-is-too-large-is-a-failure",
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
class NeverStreams(Front):
    """Answers one object whatever is accepted."""

    def accepts_lines(self, call: Call) -> bool:
        return False


@fails(
    "a-change-of-the-code-is-the-only-line",
    "a-group-called-beside-steps-comes-last",
    "a-line-that-is-too-large-is-a-failure",
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
class StreamsAsJson(Front):
    """Says that its stream is one object."""

    async def stream(self, request: dict[str, Any], stop_after: int | None) -> Reply:
        reply = await super().stream(request, stop_after)
        return Reply(reply.status, {"content-type": "application/json"}, reply.body)


@fails(
    "a-change-of-the-code-is-the-only-line",
    "a-group-called-beside-steps-comes-last",
    "a-line-that-is-too-large-is-a-failure",
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
class SeparatesLines(Front):
    """Writes a line's end between lines only."""

    async def stream(self, request: dict[str, Any], stop_after: int | None) -> Reply:
        reply = await super().stream(request, stop_after)
        return Reply(reply.status, reply.headers, reply.body.removesuffix(b"\n"))


@fails(
    "a-change-of-the-code-is-the-only-line",
    "a-group-called-beside-steps-comes-last",
    "a-line-that-is-too-large-is-a-failure",
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
class WritesAList(Front):
    """Writes commas where lines end."""

    def line(self, action: dict[str, Any]) -> bytes:
        return super().line(action).replace(b"\n", b",\n")


@fails(
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
class StopsAfterALine(Front):
    """Says that it streams, and does one step."""

    async def stream(self, request: dict[str, Any], stop_after: int | None) -> Reply:
        return await super().stream(request, 1)


@fails()
class GoesOnWithoutACaller(Front):
    """Does not notice that nobody reads any more."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[None]] = []

    async def let_go(self, lines: Lines) -> None:
        async def go_on() -> None:
            async for _ in lines:
                pass

        self.tasks.append(asyncio.ensure_future(go_on()))


@fails(
    "after-a-failure-nothing-begins",
    "an-error-of-the-code-waits-for-steps-that-run",
    "gathered-steps-run-at-the-same-time",
    "live-results-are-handed-out-like-records",
)
class StreamsOneAtATime(Turn):
    """Runs the steps that were called together one after the other."""

    def startable(self) -> list[Asked]:
        return super().startable()[:1] if self.unfinished == 0 else []


@fails(
    "gathered-steps-run-at-the-same-time",
    "live-results-are-handed-out-like-records",
)
class HandsOutBeforeTheLine(Turn):
    """Hands the results of steps out in the order of their calls, once all have ended."""

    async def finish(self, call: Asked) -> None:
        action = await self.act(call)
        self.early = [*getattr(self, "early", []), (call, action)]
        if len(self.early) == self.unfinished:
            early, self.early = self.early, []
            for pair in sorted(early, key=lambda pair: self.calls.index(pair[0])):
                self.finished.put_nowait(pair)


@fails(
    "after-a-failure-nothing-begins",
    "nothing-is-suspended-while-a-step-runs",
)
class SuspendsWhileStepsRun(Turn):
    """Answers what suspends as soon as the code waits for it."""

    def is_quiet(self) -> bool:
        waits = [call for call in self.calls if call.kind == "sleep" and not call.future.done()]
        return super().is_quiet() or bool(waits)


@fails(
    "an-error-of-the-code-waits-for-steps-that-run",
)
class EndsWhileStepsRun(Turn):
    """Answers the end of the function though a step runs."""

    def is_quiet(self) -> bool:
        return super().is_quiet() or self.task.done()


@fails(
    "after-a-failure-nothing-begins",
)
class BeginsAfterAFailure(Turn):
    """Goes on with the other branches after a failure."""

    def is_stuck(self) -> bool:
        return self.task.done()


@fails(
    "a-line-that-is-too-large-is-a-failure",
    "a-slow-step-is-announced",
    "after-a-failure-nothing-begins",
)
class SuspendsAfterAFailure(Turn):
    """Answers what suspends after a failure that is to be tried again."""

    def ends_after_a_failure(self) -> bool:
        return True


@fails(
    "after-a-failure-nothing-begins",
)
class HangsUpAfterAFailure(Turn):
    """Loses the steps that still run when one has failed."""

    def is_quiet(self) -> bool:
        return super().is_quiet() or self.has_failed


@fails(
    "a-slow-step-is-announced",
)
class AnnouncesNothing(Turn):
    """Lets a step run for long without saying so."""

    def announces(self, call: Asked) -> bool:
        return False


@fails(
    "a-slow-step-is-announced",
)
class KeepsNoTimeout(Turn):
    """Leaves a step's timeout to the engine."""

    def limit_s(self, call: Asked) -> float | None:
        return None


@fails(
    "a-skip-is-a-line-like-a-steps",
    "lines-say-what-they-come-after",
)
class CountsNothingLive(Turn):
    """Counts for `after` only what the request has recorded."""

    @property
    def positions(self) -> int:
        return min(super().positions, len(self.records()))


@fails(
    "a-change-of-the-code-is-the-only-line",
    "a-stream-can-be-cut-anywhere",
    "a-stream-ends-with-what-suspends",
    "after-a-failure-nothing-begins",
    "an-answer-can-be-a-stream",
    "an-attempt-in-a-stream-knows-its-number",
    "live-results-are-handed-out-like-records",
    "notes-go-with-the-next-line",
)
class RunsAgainFromTheFirst(Turn):
    """Takes a turn that goes on in the middle for a new one."""

    def records(self) -> list[dict[str, Any]]:
        return [] if self.streams else super().records()
