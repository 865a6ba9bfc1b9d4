"""Runners that get the helpers of version 2 wrong."""

from collections.abc import Awaitable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from runner_protocol.kit.errors import StepFailedError

from ..asking import PREFIXES
from ..reference import OTHER_KINDS, Asked, Turn
from . import fails


@fails(
    "a-skip-is-a-line-like-a-steps",
    "a-skipped-step-says-why",
    "actions-say-what-they-come-after",
)
class CompletesWhatIsSkipped(Turn):
    """Writes down a skipped step as one that has run."""

    async def act(self, call: Asked) -> dict[str, Any]:
        if call.kind == "skip":
            return self.complete_step(call, None, {})
        return await super().act(call)


@fails(
    "a-skip-is-a-line-like-a-steps",
    "a-skipped-step-says-why",
)
class SkipsWithoutAReason(Turn):
    """Keeps the reason to itself."""

    def skip(self, name: str, reason: str) -> Awaitable[Any]:
        return super().skip(name, "")


@fails(
    "what-was-skipped-is-no-result-of-a-step",
)
class TakesSkippedForDone(Turn):
    """Gives a step's caller null where the step was skipped."""

    def is_alike(self, call: Asked, record: dict[str, Any]) -> bool:
        is_work = call.kind in ("step", "skip") and record["kind"] not in OTHER_KINDS
        return is_work or super().is_alike(call, record)


@fails(
    "a-sleep-can-end-at-a-time",
)
class SleepsByTheClock(Turn):
    """Makes a duration of a time, by a clock that no replay sees again."""

    def sleep_until(self, time: str, *, name: str | None = None) -> Awaitable[Any]:
        seconds = (datetime.fromisoformat(time) - datetime.now(UTC)).total_seconds()
        return self.sleep(f"{seconds:.0f}s", name=name)


@fails(
    "a-wait-can-match-and-have-an-address",
)
class MatchesEverything(Turn):
    """Leaves out what an event must match."""

    def wait_for_event(self, event: str, **options: Any) -> Awaitable[Any]:
        return super().wait_for_event(event, **{**options, "match": None})


@fails(
    "a-wait-can-match-and-have-an-address",
)
class HasOneAddress(Turn):
    """Leaves out the second address."""

    def wait_for_event(self, event: str, **options: Any) -> Awaitable[Any]:
        return super().wait_for_event(event, **{**options, "correlation": None})


@fails(
    "a-wait-can-fail-when-it-times-out",
)
class NeverFailsToWait(Turn):
    """Asks for null in place of a failure when nothing comes."""

    def wait_for_event(self, event: str, **options: Any) -> Awaitable[Any]:
        return super().wait_for_event(event, **{**options, "on_timeout": None})


@fails(
    "a-wait-can-fail-when-it-times-out",
    "an-approval-can-fail-when-it-times-out",
)
class CannotTellTimeouts(Turn):
    """Throws the same error for a timeout as for any failure."""

    def thrown(self, call: Asked, record: dict[str, Any]) -> StepFailedError:
        return StepFailedError(call.name, record["error"], 1, kind=call.kind)


@fails(
    "an-approval-asks-for-a-decision",
)
class AsksWithoutAMessage(Turn):
    """Asks for a decision without saying about what."""

    def approval(self, name: str, **options: Any) -> Awaitable[Any]:
        return super().approval(name, **{key: value for key, value in options.items() if key == "timeout"})


@fails(
    "a-decision-reaches-the-code",
)
class ThrowsRejections(Turn):
    """Throws a rejection into the code."""

    async def hand_out(self, call: Asked, record: dict[str, Any]) -> None:
        if call.kind == "approval" and record["output"] and not record["output"]["approved"]:
            record = {**record, "status": "failed", "error": "rejected"}
        await super().hand_out(call, record)


@fails(
    "a-decision-reaches-the-code",
)
class KnowsApprovedOnly(Turn):
    """Forgets who has decided, and why."""

    def approval(self, name: str, **options: Any) -> Awaitable[Any]:
        decision = super().approval(name, **options)
        nothing = {"by": None, "comment": None, "data": None, "timed_out": False}
        self.calls[-1].read = lambda output: SimpleNamespace(**nothing, approved=output["approved"])
        return decision


@fails(
    "a-parallel-names-its-members",
)
class SortsMembers(Turn):
    """Sends a group's members in another order than the code's."""

    def parallel(self, name: str, members: dict[str, Any], **options: Any) -> Awaitable[Any]:
        return super().parallel(name, dict(reversed(members.items())), **options)


@fails(
    "a-map-sends-its-items",
    "a-parallel-names-its-members",
)
class HasItsOwnBounds(Turn):
    """Runs all members at a time, whatever the code says."""

    def call(self, kind: str, name: str, fields: dict[str, Any], **more: Any) -> Awaitable[Any]:
        if kind in ("parallel", "map"):
            fields = {**fields, "max_in_flight": 100}
        return super().call(kind, name, fields, **more)


@fails(
    "a-map-sends-its-items",
    "a-parallel-names-its-members",
)
class FailsFast(Turn):
    """Ends each group with its first failure."""

    def call(self, kind: str, name: str, fields: dict[str, Any], **more: Any) -> Awaitable[Any]:
        if kind in ("parallel", "map"):
            fields = {**fields, "fail_fast": True}
        return super().call(kind, name, fields, **more)


@fails(
    "a-map-sends-its-items",
)
class DropsEmptyItems(Turn):
    """Leaves out items that are nothing."""

    def map(self, name: str, items: list[Any], body: Any, **options: Any) -> Awaitable[Any]:
        return super().map(name, [item for item in items if item is not None], body, **options)


@fails(
    "the-outputs-of-a-group-reach-the-code",
)
class ListsNamedOutputs(Turn):
    """Gives the code a list of the members' outputs, without their names."""

    def output(self, call: Asked, record: dict[str, Any]) -> Any:
        output = super().output(call, record)
        return list(output.values()) if call.kind == "parallel" and output else output


@fails(
    "a-failed-group-can-be-caught",
    "an-uncaught-failure-of-a-child-fails-the-workflow",
)
class SwallowsFailedGroups(Turn):
    """Gives the code null for a group that has failed."""

    async def hand_out(self, call: Asked, record: dict[str, Any]) -> None:
        if call.kind in ("parallel", "map"):
            record = {**record, "status": "completed"}
        await super().hand_out(call, record)


@fails(
    "an-uncaught-failure-of-a-child-fails-the-workflow",
    "gathered-failures-can-all-be-caught",
    "the-output-of-a-child-reaches-the-code",
)
class SwallowsFailedChildren(Turn):
    """Gives the code null for a child that has failed."""

    async def hand_out(self, call: Asked, record: dict[str, Any]) -> None:
        if call.kind == "child":
            record = {**record, "status": "completed"}
        await super().hand_out(call, record)


@fails(
    "a-child-is-started",
)
class AlwaysWaitsForChildren(Turn):
    """Knows no child that is not waited for."""

    def child(self, workflow: str, **options: Any) -> Awaitable[Any]:
        return super().child(workflow, **{**options, "wait": True})


@fails(
    "a-child-is-started",
    "names-of-all-helpers-are-checked",
)
class NamesNoChild(Turn):
    """Names a child after its workflow, whatever the code says."""

    def child(self, workflow: str, **options: Any) -> Awaitable[Any]:
        return super().child(workflow, **{**options, "name": None})


@fails(
    "the-output-of-a-child-reaches-the-code",
)
class LosesTheChildsOutput(Turn):
    """Gives the code the child's id and not its output."""

    def output(self, call: Asked, record: dict[str, Any]) -> Any:
        return {"workflow_id": "wf"} if call.kind == "child" else super().output(call, record)


@fails(
    "the-next-run-begins-with-its-input",
)
class ContinuesWithNothing(Turn):
    """Begins the next run without its input."""

    def continue_as_new(self, input: Any) -> Awaitable[Any]:
        return super().continue_as_new(None)


@fails(
    "the-next-run-begins-with-its-input",
    "the-next-run-comes-before-what-suspends",
)
class ContinuesLast(Turn):
    """Waits for what was called before a next run."""

    def choose(self, pending: list[Asked]) -> Asked:
        others = [call for call in pending if call.kind != "continue_as_new"]
        return super().choose(others or pending)


@fails(
    "an-operation-is-recorded-with-kind-and-input",
    "a-failed-operation-is-replayed-like-a-step",
)
class RecordsNoKind(Turn):
    """Records an operation as a plain step."""

    def complete_step(self, call: Asked, output: Any, times: dict[str, Any]) -> dict[str, Any]:
        action = super().complete_step(call, output, times)
        return {name: value for name, value in action.items() if name not in ("kind", "input")}


@fails(
    "a-failed-operation-is-recorded-with-kind-and-input",
)
class RecordsNoKindOfFailures(Turn):
    """Records an operation that has failed as a plain step."""

    def fail_step(self, call: Asked, error: BaseException) -> dict[str, Any]:
        action = super().fail_step(call, error)
        return {name: value for name, value in action.items() if name not in ("kind", "input")}


@fails(
    "a-failed-operation-is-recorded-with-kind-and-input",
)
class GivesEveryFailureAKind(Turn):
    """Calls a plain step that has failed an operation."""

    def fail_step(self, call: Asked, error: BaseException) -> dict[str, Any]:
        return {"kind": "function", **super().fail_step(call, error)}


@fails(
    "a-failed-operation-is-replayed-like-a-step",
)
class ThrowsFailuresOfPlainStepsOnly(Turn):
    """Does not know the failure of an operation for one of a step."""

    def is_alike(self, call: Asked, record: dict[str, Any]) -> bool:
        is_known = call.kind != "step" or record["status"] != "failed" or record["kind"] == "step"
        return is_known and super().is_alike(call, record)


@fails(
    "an-operation-is-recorded-with-kind-and-input",
)
class GivesEveryStepAKind(Turn):
    """Calls a plain step an operation."""

    def complete_step(self, call: Asked, output: Any, times: dict[str, Any]) -> dict[str, Any]:
        return {"kind": "function", **super().complete_step(call, output, times)}


@fails(
    "the-kind-of-a-step-may-change",
    "a-failed-operation-is-replayed-like-a-step",
)
class ComparesKindsOfSteps(Turn):
    """Takes a step that has become an operation for another one."""

    def is_alike(self, call: Asked, record: dict[str, Any]) -> bool:
        return super().is_alike(call, record) and call.recorded.get("kind", call.kind) in (record["kind"], "skip")


@fails(
    "a-record-of-another-helper-diverges",
)
class CannotTellGroups(Turn):
    """Takes a parallel for a map."""

    def is_alike(self, call: Asked, record: dict[str, Any]) -> bool:
        groups = ("parallel", "map")
        return (call.kind in groups and record["kind"] in groups) or super().is_alike(call, record)


@fails(
    "a-record-of-another-helper-diverges",
    "what-was-skipped-is-no-result-of-a-step",
)
class TakesGroupsForSteps(Turn):
    """Gives a group what a step has left, and the other way round."""

    def is_alike(self, call: Asked, record: dict[str, Any]) -> bool:
        if call.kind in ("step", "parallel", "map"):
            return record["kind"] not in ("sleep", "event", "approval", "child")
        return super().is_alike(call, record)


@fails(
    "names-of-all-helpers-are-checked",
)
class ChecksNamesOfStepsOnly(Turn):
    """Lets an author name a child or a gate as keys are."""

    def call(self, kind: str, name: str, fields: dict[str, Any], **more: Any) -> Awaitable[Any]:
        if kind in ("approval", "child", "parallel", "map", "skip"):
            more["base"] = f"{self.prefix(kind)}{name}"
        return super().call(kind, name, fields, **more)


@fails(
    "a-child-is-started",
    "a-decision-reaches-the-code",
    "actions-say-what-they-come-after",
    "an-approval-asks-for-a-decision",
    "an-approval-can-fail-when-it-times-out",
    "an-uncaught-failure-of-a-child-fails-the-workflow",
    "gathered-failures-can-all-be-caught",
    "groups-and-waits-called-together-take-turns",
    "the-output-of-a-child-reaches-the-code",
)
class KeysWithoutPrefixes(Turn):
    """Keys a gate and a child like a step."""

    def prefix(self, kind: str) -> str:
        return "" if kind in PREFIXES else super().prefix(kind)


@fails(
    "a-skip-is-a-line-like-a-steps",
    "actions-say-what-they-come-after",
    "lines-say-what-they-come-after",
)
class CountsNoPositions(Turn):
    """Leaves out what an action comes after."""

    def asked(self, action: dict[str, Any], call: Asked) -> dict[str, Any]:
        return {**super().asked(action, call), "after": None}

    def complete_step(self, call: Asked, output: Any, times: dict[str, Any]) -> dict[str, Any]:
        return {**super().complete_step(call, output, times), "after": None}


@fails(
    "a-skip-is-a-line-like-a-steps",
    "actions-say-what-they-come-after",
    "lines-say-what-they-come-after",
)
class CountsAtTheAnswer(Turn):
    """Says what had been handed out when the action was answered, not when the helper was called."""

    def complete_step(self, call: Asked, output: Any, times: dict[str, Any]) -> dict[str, Any]:
        return {**super().complete_step(call, output, times), "after": len(self.records())}


@fails(
    "what-was-skipped-moves-no-time",
)
class MovesTimeBySkips(Turn):
    """Lets a skipped step move the code's time."""

    def moves_time(self, record: dict[str, Any]) -> bool:
        return True


@fails(
    "a-failed-command-is-a-failed-attempt",
    "a-failed-operation-is-recorded-with-kind-and-input",
)
class RunsCommandsInVain(Turn):
    """Takes a command that failed for one that worked."""

    def shell(self, name: str, command: list[str]) -> Awaitable[Any]:
        async def run() -> dict[str, Any]:
            return {"stdout": "hello\n", "stderr": "", "exit_code": 0}

        return self.call("step", name, {}, body=run, recorded={"kind": "shell", "input": {"command": command}})


@fails(
    "a-failed-group-can-be-caught",
    "gathered-failures-can-all-be-caught",
)
class ThrowsTheFirstFailureOnly(Turn):
    """Leaves the other branches waiting when one has been thrown into."""

    async def hand_out(self, call: Asked, record: dict[str, Any]) -> None:
        if record["status"] == "failed" and any(other["status"] == "failed" for other in self.handed_out):
            self.handed_out.append(record)
            call.future.cancel()
        else:
            await super().hand_out(call, record)
