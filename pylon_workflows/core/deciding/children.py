"""Other workflows that an instance starts (PROTOCOL.md section 2)."""

from datetime import datetime

from pylon_workflows.core.commands import ApplyAction, FinishChild
from pylon_workflows.core.deciding.asking import after, notes_json, record_key
from pylon_workflows.core.instance import ChildWait, Instance, Status
from pylon_workflows.core.transitions import ChildFinished, ChildStarted, StepFailed
from pylon_workflows.errors import MalformedAnswerError
from runner_protocol.messages import StartChild


def child_key(instance: Instance, action: StartChild) -> str:
    """The key that the child's record will have. Raises MalformedAnswerError when it is recorded already."""
    return record_key(instance, action.key, f"child:{action.name}")


def started(instance: Instance, action: StartChild, command: ApplyAction, now: datetime) -> ChildStarted | StepFailed:
    """A child is started, or cannot be: then it has failed, and that is thrown into the code."""
    key = child_key(instance, action)
    if command.child_refusal is not None:
        return StepFailed(
            at=now,
            key=key,
            name=f"child:{action.name}",
            position=instance.current_step,
            failures=1,
            error=command.child_refusal,
            started_at=now,
            completed_at=now,
            duration_ms=0,
            kind="child",
            after=after(instance, action),
            notes_json=notes_json(instance, action),
        )
    if command.child is None:
        raise MalformedAnswerError("action: 'start_child' cannot be applied here: nobody starts the child")
    return ChildStarted(
        at=now,
        key=key,
        name=action.name,
        child_id=command.child.id,
        workflow=action.workflow,
        is_awaited=action.wait,
        on_parent_close=action.on_parent_close,
        position=None if action.wait else instance.current_step,
        after=after(instance, action),
        notes_json=notes_json(instance, action),
    )


def finished(instance: Instance, command: FinishChild, now: datetime) -> list[ChildFinished]:
    """A child has finished: what it cost counts, and what waits for it goes on. Told again it decides nothing."""
    child = instance.children.get(command.child_id)
    if instance.is_finished or child is None or (child.run, child.key) != (command.run, command.key):
        return []
    wait = instance.wait
    if not isinstance(wait, ChildWait) or wait.child_id != command.child_id:
        return [_end(command, now, position=None, started_at=now, error=command.error)]
    error = None
    if command.status != Status.COMPLETED:
        how = f"failed: {command.error}" if command.status == Status.FAILED else "was cancelled"
        error = f"child {wait.name!r} {how}"
    return [_end(command, now, position=instance.current_step, started_at=wait.started_at, error=error)]


def _end(
    command: FinishChild, now: datetime, *, position: int | None, started_at: datetime, error: str | None
) -> ChildFinished:
    return ChildFinished(
        at=now,
        key=command.key,
        child_id=command.child_id,
        position=position,
        started_at=started_at,
        status=command.status,
        error=error,
        output_json=command.output_json,
        usage_json=command.usage_json,
    )
