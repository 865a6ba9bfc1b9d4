"""Answers that a caller gives in the runner's place: in tests, and for engines without a runner."""

from collections.abc import Mapping

from pylon_workflows.actions import Actions
from pylon_workflows.changes import Changes
from pylon_workflows.core.commands import ApplyMember, EndGroup
from pylon_workflows.core.groups import Group
from pylon_workflows.core.instance import Instance
from pylon_workflows.decision import Decision, TakenIdError
from pylon_workflows.errors import InvalidInputError, MalformedAnswerError, TurnNotOpenError, TurnOpenError
from pylon_workflows.live_instances import LiveInstances
from pylon_workflows.ports import Clock
from runner_protocol.messages import Action, StartChild


class CannedAnswers:
    """Applies an action as a turn would; while a group is open, as the call of the member would whose key it has."""

    def __init__(self, changes: Changes, live: LiveInstances, clock: Clock, actions: Actions) -> None:
        self._changes = changes
        self._live = live
        self._clock = clock
        self._actions = actions

    async def apply(self, instance_id: str, action: Action) -> Instance:
        """Take this action for the runner's answer, and return the state after it.

        Raises:
            UnknownInstanceError, InvalidInputError (it does not fit the records), TurnOpenError, TurnNotOpenError;
            UnknownWorkflowError: of a child.
        """
        if isinstance(action, StartChild):
            await self._actions.look_up(action)
        known: dict[str, Instance | None] = {}
        while True:
            try:
                return await self._apply(instance_id, action, known)
            except TakenIdError as error:
                known |= await self._changes.who_has(error.id)

    async def _apply(self, instance_id: str, action: Action, known: Mapping[str, Instance | None]) -> Instance:
        with self._live.use(instance_id) as live:
            async with live.lock:
                await self._changes.load(live, instance_id)
                if live.open_turn is not None:
                    raise TurnOpenError(f"{instance_id}: the runner is being asked; its answer counts, not this one")
                decision = Decision(live.loaded, self._clock.now(), known)
                group = decision.after.group
                try:
                    if group is None:
                        self._actions.apply(decision, action, turn_started_at=decision.at)
                    else:
                        _answer_member(decision, group, action)
                except MalformedAnswerError as error:
                    raise InvalidInputError(f"action: {error}") from None
                if decision.transitions:
                    await self._changes.commit(live, decision)
                elif not decision.after.is_runnable:
                    raise TurnNotOpenError(f"{instance_id} is {decision.after.status} and awaits no answer")
                return live.loaded


def _answer_member(decision: Decision, group: Group, action: Action) -> None:
    key = getattr(action, "key", None)
    index = next((index for index in group.unfinished() if group.member_key(index) == key), None)
    if index is None:
        such_as = next((f", such as {group.member_key(index)!r}" for index in group.unfinished()), "")
        raise MalformedAnswerError(
            f"key: {key!r} is no member that can be answered: the group {group.key!r} is open, give the key of one of "
            f"its members{such_as}"
        )
    run, attempt = decision.after.run, group.failures(index) + 1
    decision.add(
        ApplyMember(run=run, group=group.key, index=index, attempt=attempt, action=action, called_at=decision.at)
    )
    if decision.after.group is not None and decision.after.group.is_failing:
        decision.add(EndGroup(run=run, group=group.key))
