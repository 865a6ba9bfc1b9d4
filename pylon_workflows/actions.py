"""A runner's action as a command: with the child that it starts, or the terms of the run that it begins.

What the core cannot know is looked up here: definitions, ids, who has an id already (PROTOCOL.md section 2).
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from pylon_workflows.core.commands import ApplyAction
from pylon_workflows.core.deciding.children import child_key
from pylon_workflows.core.instance import Instance, Terms
from pylon_workflows.core.transitions import InstanceStarted
from pylon_workflows.decision import Decision
from pylon_workflows.definitions import Definitions
from pylon_workflows.errors import InvalidIdError, MalformedAnswerError, StoreError, UnknownWorkflowError
from pylon_workflows.ids import check_instance_id, child_id, new_seed
from runner_protocol.messages import Action, ContinueAsNew, StartChild
from runner_protocol.strict_json import encode_parsed

MAX_DEPTH_OF_CHILDREN = 32


class Actions:
    """Decides actions. An input, of a child or of the next run, has at most `max_input_bytes`.

    `look_for` asks whoever may know a workflow that no definition names.
    """

    def __init__(
        self, definitions: Definitions, look_for: Callable[[str], Awaitable[None]], *, max_input_bytes: int
    ) -> None:
        self._definitions = definitions
        self._look_for = look_for
        self._max_input_bytes = max_input_bytes

    async def look_up(self, action: StartChild) -> None:
        """Look for the workflow of a child, where it is unknown."""
        if action.workflow not in self._definitions:
            with suppress(StoreError):  # then it is unknown for now
                await self._look_for(action.workflow)

    def apply(
        self,
        decision: Decision,
        action: Action,
        *,
        turn_started_at: datetime,
        jitter: float = 1.0,
        goes_on: bool = False,
    ) -> int:
        """Add to the decision what follows from an action; how many transitions those are.

        Raises:
            UnknownWorkflowError: of a child. MalformedAnswerError: it does not fit the records, or is too large.
        """
        command = ApplyAction(action=action, turn_started_at=turn_started_at, jitter=jitter, goes_on=goes_on)
        if type(action) is StartChild:  # an isinstance of a model costs a microsecond
            child = self._child(decision, action)
            match child:
                case str():
                    command = replace(command, child_refusal=child)
                case _:
                    command = replace(command, child=child)
        elif type(action) is ContinueAsNew:
            command = replace(command, terms=self._terms(decision.after, action))
        return decision.add(command)

    def _child(self, decision: Decision, action: StartChild) -> InstanceStarted | str:
        """The child, or why it cannot be."""
        parent = decision.after
        key = child_key(parent, action)
        definition = self._definitions.get(action.workflow)
        depth = parent.origin.depth + 1
        if depth > MAX_DEPTH_OF_CHILDREN:
            return f"child-too-deep: children are at most {MAX_DEPTH_OF_CHILDREN} deep"
        input_json = encode_parsed(action.input)
        if len(input_json) > self._max_input_bytes:
            return f"input-too-large: input: has {len(input_json)} bytes, the limit is {self._max_input_bytes}"
        try:
            wanted_id = child_id(parent.id, parent.run, key) if action.id is None else check_instance_id(action.id)
        except InvalidIdError as error:
            return f"{error.code}: {error}"
        child = InstanceStarted(
            at=decision.at,
            id=wanted_id,
            name=definition.name,
            version=definition.version,
            input_json=input_json,
            idempotency_key=None,
            seed=new_seed(),
            policy=definition.policy,
            step_timeout=definition.step_timeout,
            parent_id=parent.id,
            parent_key=key,
            parent_run=parent.run,
            depth=depth,
            on_parent_close=action.on_parent_close,
        )
        is_taken = wanted_id in decision.known or any(new.id == wanted_id for new in decision.starts)
        if is_taken and not _is_same(decision.known.get(wanted_id), child):
            return f"start-conflict: the id {wanted_id} belongs to another instance"
        return child

    def _terms(self, instance: Instance, action: ContinueAsNew) -> Terms:
        """What the next run goes by: its workflow's definition as it is now, or as it was where there is none."""
        input_json = encode_parsed(action.input)
        if len(input_json) > self._max_input_bytes:
            raise MalformedAnswerError(f"input: has {len(input_json)} bytes, the limit is {self._max_input_bytes}")
        present = instance.terms
        try:
            definition = self._definitions.get(instance.name)
        except UnknownWorkflowError:
            return Terms(
                input_json=input_json,
                version=present.version,
                policy=present.policy,
                step_timeout=present.step_timeout,
            )
        return Terms(
            input_json=input_json,
            version=definition.version,
            policy=definition.policy,
            step_timeout=definition.step_timeout,
        )


def _is_same(former: Instance | None, child: InstanceStarted) -> bool:
    """Whether it was started by the same record of the same run: it is this child, started again."""
    if former is None:
        return False
    origin = former.origin
    started_by = (origin.parent_id, origin.parent_run, origin.parent_key, origin.name)
    return started_by == (child.parent_id, child.parent_run, child.parent_key, child.name)
