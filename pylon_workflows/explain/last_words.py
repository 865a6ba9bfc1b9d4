"""What the runner last said of an instance, as its history has it."""

from collections.abc import Sequence
from typing import assert_never

from pylon_workflows.core.transitions import (
    ApprovalDecided,
    ApprovalRequested,
    ApprovalTimedOut,
    AttemptFailed,
    ChildFinished,
    ChildStarted,
    EarlierRunsDeleted,
    EventReceived,
    EventTaken,
    GroupFailed,
    GroupStarted,
    GroupSucceeded,
    InstanceBlocked,
    InstanceCancelled,
    InstanceCompleted,
    InstanceFailed,
    InstanceResumed,
    InstanceStarted,
    MemberAttemptFailed,
    MemberFailed,
    MemberSucceeded,
    RunContinued,
    RunStarted,
    SleepStarted,
    StepFailed,
    StepSkipped,
    StepSucceeded,
    Transition,
    WaitStarted,
    WaitTimedOut,
    WokeUp,
)
from pylon_workflows.explain.shapes import Driving, Said
from runner_protocol.fields import format_timestamp
from runner_protocol.messages import UNKNOWN_STEP

_LONGEST = 500


def last_words(recent: Sequence[Transition], driving: Driving) -> Said | None:
    """What it last said, or why it says nothing; None where that is not among the recent transitions."""
    if driving.wait is not None and not driving.wait.is_for_child:  # later than all that is written
        return Said(at=driving.wait.since, text=driving.wait.reason[:_LONGEST])
    for transition in reversed(recent):
        text = _said(transition)
        if text is not None:
            return Said(at=transition.at, text=text[:_LONGEST])
    return None


def _whose(failed: AttemptFailed) -> str:
    if failed.name != UNKNOWN_STEP or failed.after is not None:
        return repr(failed.name)
    return "the turn" if failed.detail_json is None else "the workflow's function"


def _said(transition: Transition) -> str | None:  # noqa: PLR0911, PLR0912 -- one case a class, as in the core
    match transition:
        case StepSucceeded(name=name):
            return f"the step {name!r} is done"
        case StepSkipped(name=name, reason=reason):
            return f"the step {name!r} is left out: {reason}"
        case AttemptFailed(failures=failures, error=error):
            return f"attempt {failures} of {_whose(transition)} failed: {error}"
        case StepFailed(name=name, error=error):
            return f"{name!r} failed for good: {error}"
        case SleepStarted(due_at=due_at):
            return f"sleep until {format_timestamp(due_at)}"
        case WaitStarted(event=event):
            return f"wait for the event {event!r}"
        case EventTaken(key=key, notes_json=notes, after=after) if notes is not None or after is not None:
            return f"wait for {key!r}, which had come before"
        case ApprovalRequested(name=name):
            return f"ask for the decision {name!r}"
        case GroupStarted(key=key, kind=kind):
            return f"call the members of the {kind} {key!r}"
        case MemberSucceeded(index=index):
            return f"member {index} of the group is done"
        case MemberAttemptFailed(index=index, error=error):
            return f"member {index} of the group failed, and is tried again: {error}"
        case MemberFailed(index=index, error=error):
            return f"member {index} of the group failed for good: {error}"
        case ChildStarted(child_id=child_id, workflow=workflow):
            return f"start the child {child_id} ({workflow})"
        case RunContinued():
            return "go on with the next run"
        case InstanceCompleted():
            return "the workflow is done"
        case InstanceFailed(error=error):
            return f"the workflow failed: {error}"
        case (
            InstanceStarted() | RunStarted() | WokeUp() | EventReceived() | EventTaken() | WaitTimedOut()
            | ApprovalDecided() | ApprovalTimedOut() | GroupSucceeded() | GroupFailed() | ChildFinished()
            | InstanceBlocked() | InstanceCancelled() | InstanceResumed() | EarlierRunsDeleted()
        ):  # fmt: skip
            return None
        case _:
            assert_never(transition)
