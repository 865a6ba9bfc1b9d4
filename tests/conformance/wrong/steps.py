"""Runners that get the replay of steps wrong."""

from dataclasses import fields
from datetime import datetime
from typing import Any

from runner_protocol.kit.step import StepInfo

from ..reference import Asked, Turn
from ..running import run_now
from . import fails


@fails(
    "the-first-turn-runs-the-first-step",
    "a-completed-step-says-when-it-ran",
    "a-failed-step-answers-fail",
    "a-missing-mode-means-advance",
    "a-name-that-looks-like-a-key-is-refused",
    "a-named-sleep-is-keyed-by-its-name",
    "a-pause-cannot-be-swallowed",
    "a-plain-failure-names-its-step",
    "a-recorded-step-never-runs-again",
    "a-second-step-runs-after-the-first",
    "a-step-can-ask-for-a-later-retry",
    "a-step-can-have-its-own-number-of-retries",
    "a-step-can-refuse-retries",
    "a-step-gets-its-idempotency-key",
    "a-wait-carries-its-timeout",
    "an-answer-is-one-json-object",
    "an-event-is-keyed-by-its-name",
    "an-output-that-is-no-json-is-a-failure",
    "an-unnamed-sleep-is-keyed-sleep",
    "big-integers-and-doubles-survive",
    "broken-workflow-code-fails-without-step-name",
    "every-text-survives",
    "gathered-steps-run-one-a-turn",
    "keys-are-given-at-the-call",
    "names-in-unicode",
    "random-numbers-repeat",
    "repeated-names-get-numbered-keys",
    "same-request-same-answer",
    "sleep-is-not-asked-again",
    "steps-come-before-suspensions",
    "turns-at-once-do-not-mix",
    "turns-of-different-instances-do-not-mix",
    "unknown-request-fields-are-ignored",
    "an-answer-that-is-too-large-is-a-failure",
    "falsy-values-survive",
    "keys-of-all-kinds-are-one-space",
    "a-child-is-started",
    "a-failed-command-is-a-failed-attempt",
    "a-map-sends-its-items",
    "a-parallel-names-its-members",
    "a-run-stays-with-its-version",
    "a-skipped-step-says-why",
    "a-sleep-can-end-at-a-time",
    "a-slow-step-is-announced",
    "a-variable-is-not-set-in-a-step",
    "a-wait-can-fail-when-it-times-out",
    "a-wait-can-match-and-have-an-address",
    "a-workflow-without-versions-takes-any-run",
    "actions-say-what-they-come-after",
    "an-accept-that-names-no-stream-gets-one-object",
    "an-approval-asks-for-a-decision",
    "an-operation-is-recorded-with-kind-and-input",
    "groups-and-waits-called-together-take-turns",
    "names-of-all-helpers-are-checked",
    "notes-go-with-a-failure-of-the-code",
    "notes-go-with-the-next-action",
    "notes-of-a-failed-attempt-are-sent-with-it",
    "the-next-run-begins-with-its-input",
    "a-call-of-a-hook-is-an-event",
    "a-hook-url-is-signed",
    "a-hook-url-is-the-same-in-each-turn",
    "a-signature-is-good-for-five-minutes",
    "an-unsigned-request-is-refused",
    "one-signature-of-several-is-enough",
    "without-hooks-there-is-no-hook-url",
    "a-failed-operation-is-recorded-with-kind-and-input",
    "without-hooks-a-step-puts-the-turn-off",
)
class WarmsUp(Turn):
    """Is not ready for the first turn."""

    async def answer(self) -> dict[str, Any]:
        if not self.request["completed_steps"]:
            return {"action": "defer", "retry_after": "1s", "reason": "warming up"}
        return await super().answer()


@fails(
    "a-second-step-runs-after-the-first",
    "a-failed-attempt-is-run-again",
    "a-final-failure-can-be-caught",
    "a-history-of-a-thousand-records",
    "a-plain-event-reaches-the-code",
    "a-recorded-step-never-runs-again",
    "a-retried-failure-of-a-renamed-step-is-no-divergence",
    "a-step-gets-its-idempotency-key",
    "attempt-number-counts-failures-of-its-key",
    "gathered-steps-run-one-a-turn",
    "keys-are-given-at-the-call",
    "recorded-outputs-reach-the-code",
    "records-are-handed-out-in-recorded-order",
    "repeated-names-get-numbered-keys",
    "turns-of-different-instances-do-not-mix",
    "a-member-is-run-alone",
    "a-skip-is-a-line-like-a-steps",
    "a-skipped-step-says-why",
    "a-stream-can-be-cut-anywhere",
    "a-wait-can-fail-when-it-times-out",
    "actions-say-what-they-come-after",
    "after-a-failure-nothing-begins",
    "an-answer-can-be-a-stream",
    "an-attempt-in-a-stream-knows-its-number",
    "an-error-of-the-code-waits-for-steps-that-run",
    "an-operation-is-recorded-with-kind-and-input",
    "gathered-steps-run-at-the-same-time",
    "lines-say-what-they-come-after",
    "live-results-are-handed-out-like-records",
    "notes-go-with-the-next-line",
    "nothing-is-suspended-while-a-step-runs",
)
class StopsAfterTheFirstStep(Turn):
    """Lets the call behind a step that has run throw, and answers that error in place of the step's result."""

    async def run(self, call: Asked) -> dict[str, Any]:
        action = await super().run(call)
        return {"action": "fail", "error": "step not reached"} if self.handed_out else action


@fails(
    "a-second-step-runs-after-the-first",
    "a-missing-mode-means-advance",
    "a-recorded-step-never-runs-again",
    "a-step-gets-its-idempotency-key",
    "gathered-steps-run-one-a-turn",
    "keys-are-given-at-the-call",
    "repeated-names-get-numbered-keys",
    "turns-at-once-do-not-mix",
    "an-operation-is-recorded-with-kind-and-input",
    "applied-notes-are-not-sent-again",
    "notes-go-with-the-next-action",
    "a-failed-operation-is-replayed-like-a-step",
)
class RunsToTheNextPause(Turn):
    """Runs every step that it can, and answers the last."""

    async def run(self, call: Asked) -> dict[str, Any]:
        action = await super().run(call)
        if action["action"] in ("fail", "defer") or self.streams:
            return action
        call.future.set_result(action["output"])
        await self.settle()
        if pending := [other for other in self.calls if other.kind == "step" and not other.future.done()]:
            return await self.run(pending[0])
        return action


@fails(
    "a-finished-workflow-completes",
    "a-final-failure-can-be-caught",
    "a-lost-race-is-no-divergence",
    "a-named-sleep-is-keyed-by-its-name",
    "a-pause-cannot-be-swallowed",
    "a-sleep-may-change-its-duration",
    "an-event-is-keyed-by-its-name",
    "big-integers-and-doubles-survive",
    "each-turn-of-a-loop-gets-its-own-output",
    "event-data-reaches-the-code",
    "every-text-survives",
    "gathered-steps-run-one-a-turn",
    "keys-are-given-at-the-call",
    "names-in-unicode",
    "now-is-the-last-records-completed-at",
    "random-numbers-repeat",
    "record-fields-with-defaults-may-be-missing",
    "recorded-outputs-reach-the-code",
    "records-are-handed-out-in-recorded-order",
    "sleep-is-not-asked-again",
    "the-first-called-suspension-is-answered",
    "timed-out-wait-returns-null",
    "falsy-values-survive",
    "a-decision-reaches-the-code",
    "a-failed-group-can-be-caught",
    "a-run-stays-with-its-version",
    "a-skip-is-a-line-like-a-steps",
    "a-skipped-step-says-why",
    "a-sleep-can-end-at-a-time",
    "a-stream-can-be-cut-anywhere",
    "a-wait-can-fail-when-it-times-out",
    "a-workflow-without-versions-takes-any-run",
    "an-answer-can-be-a-stream",
    "an-approval-can-fail-when-it-times-out",
    "an-attempt-in-a-stream-knows-its-number",
    "an-operation-is-recorded-with-kind-and-input",
    "gathered-failures-can-all-be-caught",
    "gathered-steps-run-at-the-same-time",
    "live-results-are-handed-out-like-records",
    "notes-go-with-the-next-line",
    "the-kind-of-a-step-may-change",
    "the-output-of-a-child-reaches-the-code",
    "the-outputs-of-a-group-reach-the-code",
    "variables-are-the-runs-and-the-codes-own",
    "what-was-skipped-moves-no-time",
    "a-call-of-a-hook-is-an-event",
    "a-hook-url-is-signed",
    "a-hook-url-is-the-same-in-each-turn",
    "a-failed-operation-is-replayed-like-a-step",
)
class CompletesWithoutOutput(Turn):
    """Forgets what the function returned."""

    def complete(self, output: Any) -> dict[str, Any]:
        return {"action": "complete"}


@fails(
    "recorded-outputs-reach-the-code",
    "a-recorded-step-never-runs-again",
    "a-final-failure-can-be-caught",
    "a-lost-race-is-no-divergence",
    "big-integers-and-doubles-survive",
    "each-turn-of-a-loop-gets-its-own-output",
    "gathered-steps-run-one-a-turn",
    "keys-are-given-at-the-call",
    "names-in-unicode",
    "record-fields-with-defaults-may-be-missing",
    "records-are-handed-out-in-recorded-order",
    "turns-of-different-instances-do-not-mix",
    "a-skip-is-a-line-like-a-steps",
    "a-skipped-step-says-why",
    "a-stream-can-be-cut-anywhere",
    "a-wait-can-fail-when-it-times-out",
    "an-answer-can-be-a-stream",
    "an-attempt-in-a-stream-knows-its-number",
    "an-operation-is-recorded-with-kind-and-input",
    "gathered-steps-run-at-the-same-time",
    "live-results-are-handed-out-like-records",
    "notes-go-with-the-next-line",
    "the-kind-of-a-step-may-change",
    "variables-are-the-runs-and-the-codes-own",
    "what-was-skipped-moves-no-time",
    "a-hook-url-is-the-same-in-each-turn",
    "a-failed-operation-is-replayed-like-a-step",
)
class RunsRecordedSteps(Turn):
    """Runs a recorded step again and takes what it returns now."""

    def output(self, call: Asked, record: dict[str, Any]) -> Any:
        return run_now(call) if call.kind == "step" else super().output(call, record)


@fails(
    "a-recorded-step-never-runs-again",
    "an-attempt-in-a-stream-knows-its-number",
)
class RunsRecordedStepsInVain(Turn):
    """Runs a recorded step again, though it takes the recorded output."""

    def output(self, call: Asked, record: dict[str, Any]) -> Any:
        run_now(call)
        return super().output(call, record)


@fails(
    "record-fields-with-defaults-may-be-missing",
)
class NeedsEveryField(Turn):
    """Reads an output that is not there."""

    def output(self, call: Asked, record: dict[str, Any]) -> Any:
        return record["output"]


@fails(
    "a-completed-step-says-when-it-ran",
    "an-answer-can-be-a-stream",
)
class HasNoWatch(Turn):
    """Leaves the times out."""

    def times(self, started_at: datetime) -> dict[str, Any]:
        return {}


@fails(
    "a-step-gets-its-idempotency-key",
    "turns-at-once-do-not-mix",
)
class KeysStepsByPosition(Turn):
    """Gives a step the request's idempotency key, which is that of the position."""

    def info(self, call: Asked) -> StepInfo:
        info = super().info(call)

        class Positioned(StepInfo):
            idempotency_key = self.request["idempotency_key"]

        return Positioned(**{field.name: getattr(info, field.name) for field in fields(info)})


@fails(
    "gathered-steps-run-one-a-turn",
    "keys-are-given-at-the-call",
)
class RunsTheLastCalled(Turn):
    """Of several pending steps runs the one called last."""

    def choose(self, pending: list[Asked]) -> Asked:
        steps = [call for call in pending if call.kind == "step"]
        return steps[-1] if steps else super().choose(pending)


@fails(
    "records-are-handed-out-in-recorded-order",
    "live-results-are-handed-out-like-records",
)
class HandsOutInOrderOfCalls(Turn):
    """Hands the first call its record first, whichever step was recorded first."""

    def records(self) -> list[dict[str, Any]]:
        first = {call.key: number for number, call in enumerate(self.calls)}
        return sorted(super().records(), key=lambda record: first.get(record["key"], 99))
