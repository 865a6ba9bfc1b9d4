"""Runners that get members of groups, versions and descriptions wrong."""

from typing import Any

from ..front import Front, MalformedError
from ..reference import Asked, Turn
from . import fails


@fails(
    "a-member-is-given-what-was-recorded",
    "a-member-is-run-alone",
    "a-member-of-a-group-that-is-gone-diverges",
    "a-member-of-an-unknown-workflow-is-deferred",
    "a-member-that-fails-answers-fail",
    "a-members-answer-carries-its-own-notes",
)
class CannotRunMembers(Front):
    """Knows groups, but not how their members are asked for."""

    def check_member(self, request: dict[str, Any]) -> None:
        raise MalformedError("mode run_step of a member with a key is not known")


@fails(
    "a-member-is-given-what-was-recorded",
    "a-member-is-run-alone",
    "a-member-of-a-group-that-is-gone-diverges",
    "a-member-that-fails-answers-fail",
    "a-members-answer-carries-its-own-notes",
)
class AdvancesForMembers(Front):
    """Takes `run_step` for `advance`."""

    def check_mode(self, request: dict[str, Any]) -> None:
        super().check_mode(request)
        request["mode"] = "advance"


@fails(
    "a-member-must-be-named",
)
class TrustsMembers(Front):
    """Looks at no member before it uses it."""

    def check_member(self, request: dict[str, Any]) -> None:
        request["member"] = {"group": "g", "name": "g", "key": "g[0]", "input": 1, **(request.get("member") or {})}


@fails(
    "a-member-is-given-what-was-recorded",
    "a-member-is-run-alone",
    "a-member-of-a-group-that-is-gone-diverges",
)
class RunsTheFirstMember(Turn):
    """Runs the first member whichever is asked for."""

    def given(self, group: Asked, member: dict[str, Any]) -> dict[str, Any]:
        first = (group.fields.get("items") or [member["input"]])[0]
        names = [member["name"] for member in group.fields.get("members", ())]
        return {**member, "input": first, "name": names[0] if names else member["name"]}


@fails(
    "a-member-is-given-what-was-recorded",
)
class ReadsItemsFromTheCode(Turn):
    """Gives a member what the code says now."""

    def given(self, group: Asked, member: dict[str, Any]) -> dict[str, Any]:
        items = group.fields.get("items", [])
        return {**member, "input": items[member["index"]] if member["index"] < len(items) else None}


@fails(
    "a-member-is-given-what-was-recorded",
    "a-member-is-run-alone",
    "a-members-answer-carries-its-own-notes",
)
class KeysMembersLikeTheirGroup(Turn):
    """Answers under the group's key."""

    def complete_step(self, call: Asked, output: Any, times: dict[str, Any]) -> dict[str, Any]:
        return {**super().complete_step(call, output, times), "key": call.key.partition("[")[0].partition("/")[0]}


@fails(
    "a-member-is-run-alone",
)
class CountsMembersAttemptsItself(Turn):
    """Looks among the records for a member's failures, where there are none."""

    def number(self, call: Asked) -> int:
        return self.failures(call) + 1


@fails(
    "a-member-that-fails-answers-fail",
)
class NamesNoFailedMember(Turn):
    """Lets a member's failure be that of the workflow's code."""

    def fail_step(self, call: Asked, error: BaseException) -> dict[str, Any]:
        action = super().fail_step(call, error)
        return action if self.request.get("mode") != "run_step" else {**action, "key": None}


@fails(
    "a-members-answer-carries-its-own-notes",
)
class SendsTheCodesNotesWithMembers(Turn):
    """Sends the notes of the function with each member, and so again and again."""

    def with_own_notes(self, action: dict[str, Any], call: Asked) -> dict[str, Any]:
        return self.with_notes(action, call.notes)


@fails(
    "a-member-of-a-group-that-is-gone-diverges",
)
class RunsMembersInVain(Turn):
    """Fails for a member that is gone."""

    async def member(self) -> dict[str, Any]:
        action = await super().member()
        if action["action"] == "diverged":
            return {"action": "fail", "key": self.request["member"]["key"], "error": "no such member"}
        return action


@fails(
    "a-member-of-an-unknown-workflow-is-deferred",
)
class DefersNoMembers(Front):
    """Fails a member of a workflow that another process may hold."""

    def unknown(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["mode"] == "run_step":
            return {"action": "fail", "key": request["member"]["key"], "error": "unknown workflow"}
        return super().unknown(request)


@fails(
    "a-runner-says-what-it-holds",
)
class DescribesNamesOnly(Front):
    """Says what it holds without the versions."""

    def description(self) -> dict[str, Any]:
        described = super().description()
        return {**described, "workflows": [{"name": workflow["name"]} for workflow in described["workflows"]]}


@fails(
    "a-run-stays-with-its-version",
)
class TakesTheNewest(Front):
    """Goes on with the newest version, whichever the run began with."""

    def held(self, request: dict[str, Any]) -> Any:
        request["workflow_version"] = "2"
        return super().held(request)


@fails(
    "a-run-stays-with-its-version",
)
class FailsUnknownVersions(Front):
    """Ends a run because one process was deployed without its version."""

    def unknown(self, request: dict[str, Any]) -> dict[str, Any]:
        if "version" in (reason := super().unknown(request))["reason"]:
            return {"action": "fail", "error": reason["reason"]}
        return reason


@fails(
    "a-workflow-without-versions-takes-any-run",
)
class WantsAVersion(Front):
    """Holds a workflow without versions for runs without one only."""

    def unknown(self, request: dict[str, Any]) -> dict[str, Any]:
        reason = "another version of workflow 'conformance.echo'"
        return super().unknown(request) if request["workflow_name"] != "conformance.echo" else {
            "action": "defer", "retry_after": "5s", "reason": reason,
        }  # fmt: skip

    def held(self, request: dict[str, Any]) -> Any:
        found = super().held(request)
        is_other = request["workflow_name"] == "conformance.echo" and request.get("workflow_version") is not None
        return "another version" if is_other else found
