"""Runners that get failures and retries wrong."""

from datetime import UTC, datetime
from typing import Any

from runner_protocol.conformance.exchange import Reply

from ..front import Front
from ..reference import Asked, Turn
from ..running import run_now
from . import fails


@fails(
    "a-failed-step-answers-fail",
    "a-failed-attempt-is-run-again",
    "a-step-can-ask-for-a-later-retry",
    "a-step-can-have-its-own-number-of-retries",
    "a-step-can-refuse-retries",
    "a-failed-command-is-a-failed-attempt",
    "a-slow-step-is-announced",
    "after-a-failure-nothing-begins",
)
class ThrowsNothing(Turn):
    """Leaves `on_exhausted` out, so that no final failure can be caught."""

    def fail_step(self, call: Asked, error: BaseException) -> dict[str, Any]:
        return {**super().fail_step(call, error), "on_exhausted": None}


@fails(
    "a-failed-step-answers-fail",
    "a-failed-attempt-is-run-again",
    "a-step-can-ask-for-a-later-retry",
    "a-step-can-have-its-own-number-of-retries",
    "a-step-can-refuse-retries",
    "an-uncaught-final-failure-fails-without-step-name",
    "broken-workflow-code-fails-without-step-name",
    "a-failed-branch-fails-the-workflow",
    "a-member-that-fails-answers-fail",
    "a-slow-step-is-announced",
    "after-a-failure-nothing-begins",
    "an-error-of-the-code-waits-for-steps-that-run",
    "an-uncaught-failure-of-a-child-fails-the-workflow",
)
class WritesErrorsAsText(Turn):
    """Writes an error as a text, without its type."""

    def reason(self, error: BaseException) -> dict[str, Any]:
        return {**super().reason(error), "error": str(error)}


@fails(
    "a-plain-failure-names-its-step",
    "a-failed-attempt-is-run-again",
    "a-failed-step-answers-fail",
    "a-step-can-ask-for-a-later-retry",
    "a-step-can-have-its-own-number-of-retries",
    "a-step-can-refuse-retries",
    "an-output-that-is-no-json-is-a-failure",
    "an-answer-that-is-too-large-is-a-failure",
    "a-failed-command-is-a-failed-attempt",
    "a-line-that-is-too-large-is-a-failure",
    "a-slow-step-is-announced",
    "a-variable-is-not-set-in-a-step",
    "a-failed-operation-is-recorded-with-kind-and-input",
)
class NamesNoFailedStep(Turn):
    """Does not say which step has failed."""

    def fail_step(self, call: Asked, error: BaseException) -> dict[str, Any]:
        return {**super().fail_step(call, error), "step_name": None}


@fails(
    "a-failed-attempt-is-run-again",
    "a-plain-failed-attempt-is-run-again",
    "a-final-failure-can-be-caught",
    "a-retried-failure-of-a-renamed-step-is-no-divergence",
    "a-shortened-workflow-diverges",
    "a-step-gets-its-idempotency-key",
    "attempt-number-counts-failures-of-its-key",
    "divergence-names-both-sides",
    "no-step-starts-before-all-records-are-handed-out",
    "now-is-the-last-records-completed-at",
    "a-change-is-found-before-an-error-of-the-code",
    "after-a-failure-nothing-begins",
    "an-attempt-in-a-stream-knows-its-number",
    "applied-notes-are-not-sent-again",
    "notes-of-a-failed-attempt-are-sent-with-it",
    "a-failed-operation-is-replayed-like-a-step",
)
class TakesFailuresForResults(Turn):
    """Hands out a failed attempt as if it were final."""

    def records(self) -> list[dict[str, Any]]:
        return [{**record, "position": 0} for record in self.request["completed_steps"]]


@fails(
    "attempt-number-counts-failures-of-its-key",
)
class CountsAllFailures(Turn):
    """Counts the failures of all steps."""

    def failures(self, call: Asked) -> int:
        return sum(1 for record in self.request["completed_steps"] if record["status"] == "failed")


@fails(
    "attempt-number-counts-failures-of-its-key",
    "an-attempt-in-a-stream-knows-its-number",
)
class CountsToTwo(Turn):
    """Knows whether an attempt is the first, but not which it is."""

    def failures(self, call: Asked) -> int:
        return min(super().failures(call), 1)


@fails(
    "a-final-failure-can-be-caught",
    "an-uncaught-final-failure-fails-without-step-name",
    "a-failed-branch-fails-the-workflow",
    "a-failed-group-can-be-caught",
    "a-wait-can-fail-when-it-times-out",
    "an-approval-can-fail-when-it-times-out",
    "an-uncaught-failure-of-a-child-fails-the-workflow",
    "gathered-failures-can-all-be-caught",
    "the-output-of-a-child-reaches-the-code",
    "a-failed-operation-is-replayed-like-a-step",
)
class FailsTheWorkflow(Turn):
    """Ends the workflow on a final failure, whether the code would catch it or not."""

    async def replay(self) -> dict[str, Any]:
        final = [record for record in self.records() if record["status"] == "failed"]
        return {"action": "fail", "error": final[0]["error"], "retryable": False} if final else await super().replay()


@fails(
    "a-final-failure-can-be-caught",
    "an-uncaught-final-failure-fails-without-step-name",
    "a-failed-branch-fails-the-workflow",
    "a-failed-group-can-be-caught",
    "a-wait-can-fail-when-it-times-out",
    "an-approval-can-fail-when-it-times-out",
    "an-uncaught-failure-of-a-child-fails-the-workflow",
    "gathered-failures-can-all-be-caught",
    "the-output-of-a-child-reaches-the-code",
    "a-failed-operation-is-replayed-like-a-step",
)
class ThrowsNothingUseful(Turn):
    """Throws an error that does not say what happened."""

    async def hand_out(self, call: Asked, record: dict[str, Any]) -> None:
        await super().hand_out(call, {**record, "error": "a step has failed"})


@fails(
    "an-uncaught-final-failure-fails-without-step-name",
    "a-failed-branch-fails-the-workflow",
    "an-uncaught-failure-of-a-child-fails-the-workflow",
)
class RetriesWhatIsFinal(Turn):
    """Lets the engine try again what has failed for good."""

    def fail_workflow(self, error: BaseException) -> dict[str, Any]:
        return {**super().fail_workflow(error), "retryable": True}


@fails(
    "an-uncaught-final-failure-fails-without-step-name",
    "broken-workflow-code-fails-without-step-name",
    "a-name-that-looks-like-a-key-is-refused",
    "a-failed-branch-fails-the-workflow",
    "an-error-of-the-code-waits-for-steps-that-run",
    "an-uncaught-failure-of-a-child-fails-the-workflow",
    "names-of-all-helpers-are-checked",
    "notes-go-with-a-failure-of-the-code",
)
class BlamesAStep(Turn):
    """Names a step for what the workflow's own code did."""

    def fail_workflow(self, error: BaseException) -> dict[str, Any]:
        return {**super().fail_workflow(error), "step_name": self.calls[-1].name if self.calls else "workflow"}


@fails(
    "broken-workflow-code-fails-without-step-name",
    "a-name-that-looks-like-a-key-is-refused",
    "names-of-all-helpers-are-checked",
    "notes-go-with-a-failure-of-the-code",
)
class DiesOfBrokenCode(Front):
    """Answers a page of a web framework when the code breaks."""

    def encode(self, action: dict[str, Any]) -> Reply:
        is_code = action["action"] == "fail" and "step_name" not in action and action.get("retryable") is not False
        return Reply(500, {}, b"Internal Server Error") if is_code else super().encode(action)


@fails(
    "a-step-can-refuse-retries",
)
class RetriesAnything(Turn):
    """Does not listen to a step that refuses retries."""

    def fail_step(self, call: Asked, error: BaseException) -> dict[str, Any]:
        return {**super().fail_step(call, error), "retryable": True}


@fails(
    "a-step-can-ask-for-a-later-retry",
)
class RetriesWhenItLikes(Turn):
    """Does not listen to a step that says when to try again."""

    def reason(self, error: BaseException) -> dict[str, Any]:
        return {**super().reason(error), "retry_after": None}


@fails(
    "a-step-can-have-its-own-number-of-retries",
)
class RetriesAsOftenAsItLikes(Turn):
    """Does not pass on how often a step is to be tried again."""

    def fail_step(self, call: Asked, error: BaseException) -> dict[str, Any]:
        return {**super().fail_step(call, error), "max_retries": None}


@fails(
    "a-failed-branch-fails-the-workflow",
    "an-error-of-the-code-waits-for-steps-that-run",
)
class FinishesOtherBranches(Turn):
    """Runs the steps that other branches wait for although the function has ended."""

    def ending(self) -> dict[str, Any]:
        waiting = [call for call in self.calls if call.kind == "step" and not call.future.done()]
        if self.task.exception() and waiting:
            return self.complete_step(waiting[0], run_now(waiting[0]), self.times(datetime.now(UTC)))
        return super().ending()
