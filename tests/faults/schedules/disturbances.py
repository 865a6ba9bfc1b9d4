"""Answers that are cut off, come late or not at all, before a real runner."""

import random
from collections.abc import Sequence

from pylon_workflows.errors import RunnerUnavailableError, TurnTimedOutError
from pylon_workflows.ports import Apply, Runner, Turn
from runner_protocol.messages import Action, StepComplete, parse_request

Ran = tuple[str, int, str]
"""An instance's id, its run, a step's key."""


class DisturbedRunner:
    """Hands turns to `inner`, and disturbs as many as `chance` says; without it none.

    `recorded` are the steps whose results the engine has taken.
    """

    def __init__(self, inner: Runner, chance: random.Random | None) -> None:
        self._inner = inner
        self._chance = chance
        self.recorded: set[Ran] = set()
        self.disturbed = 0

    async def take_turn(self, turn: Turn, apply: Apply) -> None:
        """See `ports.Runner.take_turn`."""
        request = parse_request(turn.body)

        async def noting(actions: Sequence[Action]) -> bool:
            is_wanted = await apply(actions)
            if is_wanted:
                steps = [action.key for action in actions if isinstance(action, StepComplete) and action.key]
                self.recorded |= {(request.workflow_id, request.run, key) for key in steps}
            return is_wanted

        fate = 1.0 if self._chance is None else self._chance.random()
        if fate < 0.35:
            self.disturbed += 1
        if fate < 0.08:
            raise RunnerUnavailableError("the runner is away")
        if fate < 0.3:
            await self._cut(turn, noting)
        elif fate < 0.35:
            await self._be_late(turn)
        else:
            await self._inner.take_turn(turn, noting)

    async def _cut(self, turn: Turn, apply: Apply) -> None:
        """Let some actions through, and lose the rest."""
        assert self._chance is not None
        left = self._chance.choice((0, 0, 1, 1, 2, 3, 5))
        is_cut = False

        async def cutting(actions: Sequence[Action]) -> bool:
            nonlocal left, is_cut
            some, left = actions[:left], left - min(left, len(actions))
            is_cut = is_cut or len(some) < len(actions)
            is_wanted = await apply(some) if some else True
            return is_wanted and not is_cut

        await self._inner.take_turn(turn, cutting)
        if is_cut:
            raise RunnerUnavailableError("the connection broke", has_dropped_turn=True)

    async def _be_late(self, turn: Turn) -> None:
        """Do everything, and say nothing in time."""

        async def unheard(_: Sequence[Action]) -> bool:
            return True

        await self._inner.take_turn(turn, unheard)
        raise TurnTimedOutError("timed out after 30 s")
