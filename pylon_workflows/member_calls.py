"""A call of one member of a group: what is asked, and what comes of it (PROTOCOL.md section 5)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pylon_workflows.core.commands import ApplyMember
from pylon_workflows.core.groups import Group
from pylon_workflows.core.instance import Instance
from pylon_workflows.errors import MalformedAnswerError, RunnerError, RunnerUnavailableError
from pylon_workflows.ports import Clock, Runner, Turn
from pylon_workflows.turn_request import member_idempotency_key, member_request_body
from runner_protocol.messages import Action


@dataclass(frozen=True, slots=True)
class MemberAnswer:
    """What attempt number `attempt` of the member came to: an action, or why there is none."""

    index: int
    attempt: int
    called_at: datetime
    result: Action | RunnerError

    def command(self, instance: Instance, group: Group, jitter: float) -> ApplyMember:
        """What it asks to be decided; without an action it is a failed attempt."""
        result = self.result
        if isinstance(result, MalformedAnswerError):
            action: Action | str = f"{result.code}: {result}"
        else:
            action = str(result) if isinstance(result, RunnerError) else result
        return ApplyMember(
            run=instance.run,
            group=group.key,
            index=self.index,
            attempt=self.attempt,
            action=action,
            called_at=self.called_at,
            jitter=jitter,
        )


async def call_member(
    runner: Runner, clock: Clock, instance: Instance, group: Group, index: int, records_json: bytes, hooks: str
) -> MemberAnswer:
    """Ask for one member, within the step timeout. Of an answer of several actions the first counts.

    `hooks` is as in `turn_request`.
    """
    attempt, called_at = group.failures(index) + 1, clock.now()
    timeout = instance.terms.step_timeout
    deadline = called_at + timeout
    question = Turn(
        instance_id=instance.id,
        workflow=instance.name,
        version=instance.version,
        body=member_request_body(
            instance, group, index, records_json, began_at=called_at, deadline=deadline, hooks=hooks
        ),
        idempotency_key=member_idempotency_key(instance, group, index),
        timeout_s=timeout.total_seconds(),
    )
    answers: list[Action] = []

    async def take(actions: Sequence[Action]) -> bool:
        answers.append(actions[0])
        return False

    result: Action | RunnerError = RunnerUnavailableError("the runner answered without an action")
    try:
        await runner.take_turn(question, take)
    except RunnerError as error:
        result = error
    return MemberAnswer(index, attempt, called_at, answers[0] if answers else result)
