"""The turn that is being asked: what its answer's actions do to the instance, as they come (PROTOCOL.md section 2)."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from pylon_workflows.changes import Changes
from pylon_workflows.core.commands import ApplyAction, Block, Command, FailTurn
from pylon_workflows.core.decider import decide
from pylon_workflows.core.evolution import evolve
from pylon_workflows.core.instance import Instance
from pylon_workflows.core.transitions import Transition
from pylon_workflows.errors import MalformedAnswerError, StorageFullError
from pylon_workflows.live_instances import LiveInstance, is_driven
from pylon_workflows.ports import Clock
from pylon_workflows.runner_health import RunnerHealth
from runner_protocol.messages import Action, Defer

_log = logging.getLogger("pylon_workflows.turns")  # one name for all that a person reads of turns

_FULL_DISK_PAUSE_S = 1.0

Decided = tuple[Instance, Sequence[Transition], bool]
"""The state after the transitions, the transitions, and whether they end the turn."""


class RunLimits(NamedTuple):
    """How much one run may hold before its instance is blocked."""

    records: int
    bytes: int

    def excess(self, instance: Instance) -> str | None:
        """What to tell of a run that is too large; None for all others."""
        size = instance.history_bytes + (0 if instance.group is None else instance.group.size)
        if len(instance.records) < self.records and size < self.bytes:
            return None
        return (
            f"history-too-large: this run has {len(instance.records)} records and {size} bytes, "
            f"the limits are {self.records} and {self.bytes}"
        )


class OpenTurn:
    """One turn, from its question to the end of its answer; `live` is its instance's.

    `deferred` is the answer's wish to be asked later. An answer that came after something else had ended the turn is
    dropped: `was_late`.
    """

    __slots__ = (
        "_changes",
        "_clock",
        "_health",
        "_jitter",
        "_limits",
        "_live",
        "_number",
        "_since",
        "_task",
        "began_at",
        "deferred",
        "has_answer",
        "has_applied",
        "instance_id",
        "name",
        "was_late",
    )

    def __init__(
        self,
        changes: Changes,
        clock: Clock,
        health: RunnerHealth,
        limits: RunLimits,
        live: LiveInstance,
        *,
        jitter: Callable[[], float],
    ) -> None:
        self._changes = changes
        self._clock = clock
        self._health = health
        self._limits = limits
        self._live = live
        self._jitter = jitter
        self._task: asyncio.Task[Any] | None = asyncio.current_task()
        self._number = live.begin_turn()
        self.instance_id, self.name = live.loaded.id, live.loaded.name
        self.began_at = self._since = clock.now()
        self.has_answer = False
        self.has_applied = False
        self.was_late = False
        self.deferred: Defer | None = None

    @property
    def is_open(self) -> bool:
        """Whether what comes still counts."""
        return self._live.open_turn == self._number

    def listen(self) -> None:
        """From now on whoever gives the turn up cancels the task that waits for its answer."""
        self._live.asking = self._task

    def end(self) -> bool:
        """Nothing more comes; False when something else had ended the turn before."""
        self._live.asking = None
        return self._live.end_turn(self._number)

    def hear(self) -> None:
        """The runner has answered something."""
        if self.has_answer:
            return
        self.has_answer = True
        if self._health.is_failing(self.name):
            _log.info("%s: the runner answers again", self.instance_id)
        self._health.answered(self.instance_id)

    async def still_counts(self) -> bool:
        """Whether what has come counts, after whatever is being committed now."""
        async with self._live.lock:
            self.was_late = not self.is_open
        return self.is_open

    async def apply(self, actions: Sequence[Action]) -> bool:
        """See `ports.Apply`; False, too, when the turn was given up. Raises StoreError but for a full disk."""
        self.hear()
        return await self.commit(partial(self._applied, actions))

    async def fail(self, error: str) -> None:
        """Count what has gone wrong with the answer as a failed attempt."""
        await self.commit(
            lambda instance, now: self._decided(instance, self._failure(error, goes_on=self.has_applied), now)
        )

    async def block(self, reason: str) -> None:
        """Park the instance for a reason."""
        await self.commit(lambda instance, now: self._decided(instance, Block(reason=reason), now))

    async def commit(self, decide_all: Callable[[Instance, datetime], Decided]) -> bool:
        """Make what is decided durable, as soon as there is room; whether the turn goes on."""
        live = self._live
        while True:
            live.asking = None  # a write is not cut off
            try:
                async with live.lock:
                    if not self.is_open:
                        self.was_late = True
                        return False
                    instance = live.instance or await self._changes.load(live, self.instance_id)
                    now = self._clock.now()
                    after, transitions, is_last = decide_all(instance, now)
                    if transitions:
                        await self._changes.commit(live, after, transitions)
                        self._since, self.has_applied = now, True
                        self._health.goes_on(self.instance_id)
                    return not is_last
            except StorageFullError as error:  # nothing was changed; asking again would run the steps again
                _log.debug("%s: could not be stored, tried again: %s", self.instance_id, error)  # the store tells of it
            finally:
                if self.is_open:
                    self.listen()
            try:
                await self._clock.sleep(_FULL_DISK_PAUSE_S)
            except asyncio.CancelledError:
                self.was_late = not self.is_open
                raise

    def _applied(self, actions: Sequence[Action], instance: Instance, now: datetime) -> Decided:
        """What follows from the next actions, each decided upon the last."""
        transitions: list[Transition] = []
        since, goes_on = self._since, self.has_applied
        for action in actions:
            if isinstance(action, Defer):
                self.deferred = action
                return instance, transitions, True
            excess = self._limits.excess(instance) if goes_on else None
            if excess is not None:
                instance, decided, is_last = self._decided(instance, Block(reason=excess), now)
            else:
                command = ApplyAction(action=action, turn_started_at=since, jitter=self._jitter(), goes_on=goes_on)
                try:
                    instance, decided, is_last = self._decided(instance, command, now)
                except MalformedAnswerError as error:
                    failure = self._failure(f"{error.code}: {error}", goes_on=goes_on)
                    instance, decided, _ = self._decided(instance, failure, now)
                    is_last = True
            transitions += decided
            if is_last:
                return instance, transitions, True
            since, goes_on = now, True
        return instance, transitions, False

    def _decided(self, instance: Instance, command: Command, now: datetime) -> Decided:
        transitions = decide(instance, command, now)
        for transition in transitions:
            instance = evolve(instance, transition)
        return instance, transitions, not is_driven(instance) or instance.group is not None

    def _failure(self, error: str, *, goes_on: bool) -> FailTurn:
        return FailTurn(error=error, turn_started_at=self._since, jitter=self._jitter(), goes_on=goes_on)
