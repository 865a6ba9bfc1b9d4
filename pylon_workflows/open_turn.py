"""The turn that is being asked: what its answer's actions do to the instance, as they come (PROTOCOL.md section 2)."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from pylon_workflows.actions import Actions
from pylon_workflows.changes import Changes
from pylon_workflows.core.commands import ApplySteps, Block, Command, FailTurn
from pylon_workflows.core.instance import Instance
from pylon_workflows.decision import Decision, TakenIdError
from pylon_workflows.errors import MalformedAnswerError, StorageFullError, UnknownWorkflowError
from pylon_workflows.live_instances import LiveInstance, is_driven
from pylon_workflows.ports import Clock
from pylon_workflows.runner_health import RunnerHealth
from pylon_workflows.summaries import NO_CHILD
from pylon_workflows.turnstile import Turnstile
from runner_protocol.action_lines import ActionLines, Entry, PlainStep, as_action
from runner_protocol.messages import Action, Defer, StartChild

T = TypeVar("T")

_log = logging.getLogger("pylon_workflows.turns")  # one name for all that a person reads of turns

_NOBODY: Mapping[str, Instance | None] = {}
_FULL_DISK_PAUSE_S = 1.0
_FEW_ACTIONS = 4
"""So many take the event loop no longer than a plain turn does; more wait for a round of their own."""
_UNKNOWN_WORKFLOW_PAUSE = timedelta(seconds=1)


class Deferral(NamedTuple):
    """Why it is to be asked later: what is the matter, and more of it."""

    retry_after: timedelta
    matter: str
    reason: str


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


class TurnParts(NamedTuple):
    """What all turns of an engine need."""

    changes: Changes
    actions: Actions
    clock: Clock
    health: RunnerHealth
    limits: RunLimits
    jitter: Callable[[], float]
    turnstile: Turnstile
    drop_late: Callable[[str], None]


class OpenTurn:
    """One turn, from its question to the end of its answer; `live` is its instance's, `task` the one that asks.

    `deferred` is the answer's wish to be asked later. An answer that came after something else had ended the turn is
    dropped: `was_late`.
    """

    __slots__ = (
        "_live",
        "_number",
        "_parts",
        "_since",
        "_task",
        "began_at",
        "deferred",
        "has_answer",
        "has_applied",
        "has_ended",
        "instance_id",
        "name",
        "version",
        "was_late",
    )

    def __init__(self, parts: TurnParts, live: LiveInstance, task: asyncio.Task[Any] | None) -> None:
        self._parts = parts
        self._live = live
        self._task = task
        self._number = live.begin_turn()
        instance = live.loaded
        self.instance_id, self.name, self.version = instance.id, instance.name, instance.version
        self.began_at = self._since = live.asked_at = parts.clock.now()
        self.has_answer = self.has_applied = self.has_ended = self.was_late = False
        self.deferred: Deferral | None = None

    @property
    def is_open(self) -> bool:
        """Whether what comes still counts."""
        return self._live.open_turn == self._number

    def listen(self) -> None:
        """From now on whoever gives the turn up cancels the task that waits for its answer."""
        self._live.asking = self._task

    def end(self) -> None:
        """Nothing more comes, and if it does it is another turn's time."""
        self.has_ended = True
        self._live.asking = None
        self._live.end_turn(self._number)

    def hear(self) -> None:
        """The runner has answered something."""
        if self.has_answer:
            return
        self.has_answer = True
        if self._parts.health.answered(self.instance_id):
            _log.info("%s: the runner answers again", self.instance_id)

    async def still_counts(self) -> bool:
        """Whether what has come counts, after whatever is being committed now."""
        async with self._live.lock:
            self.was_late = not self.is_open
        return self.is_open

    async def apply(self, actions: Sequence[Action]) -> bool:
        """See `ports.Apply`; False, too, when the turn was given up. Raises StoreError but for a full disk."""
        if self.has_ended:
            self._parts.drop_late(self.instance_id)
            return False
        self.hear()
        if len(actions) > _FEW_ACTIONS:
            await self._parts.turnstile.pass_through()
        entries = actions.entries if type(actions) is ActionLines else actions  # a Sequence's isinstance is slow
        for entry in entries:
            if type(entry) is StartChild:  # an isinstance of a model costs a microsecond
                await self._parts.actions.look_up(entry)
        return await self.commit(self._applied, entries)

    async def fail(self, error: str) -> None:
        """Count what has gone wrong with the answer as a failed attempt."""
        await self.conclude(self._failure(error, goes_on=self.has_applied))

    async def block(self, reason: str) -> None:
        """Park the instance for a reason."""
        await self.conclude(Block(reason=reason))

    async def conclude(self, command: Command) -> None:
        """Make what follows from a command durable, with which the turn is over."""
        await self.commit(_is_last, command)

    async def commit(self, decide_all: Callable[[T, Decision], bool], of_what: T) -> bool:
        """Make what `decide_all` adds to a decision durable, as soon as there is room; whether the turn goes on.

        `decide_all` returns whether the turn is over with that, and is called again when it could not be stored.
        """
        live, parts = self._live, self._parts
        known: Mapping[str, Instance | None] = _NOBODY
        while True:
            live.asking = None  # a write is not cut off
            try:
                async with live.lock:
                    if live.open_turn != self._number:
                        self.was_late = True
                        return False
                    instance = live.instance or await parts.changes.load(live, self.instance_id)
                    decision = Decision(instance, parts.clock.now(), known)
                    is_last = decide_all(of_what, decision)
                    if decision.transitions:
                        await parts.changes.commit(live, decision)
                        self._since = live.asked_at = decision.at
                        self.has_applied = True
                        parts.health.goes_on(self.instance_id)
                    return not is_last
            except TakenIdError as error:
                known = {**known, **await parts.changes.who_has(error.id)}
                continue
            except StorageFullError as error:  # nothing was changed; asking again would run the steps again
                _log.debug("%s: could not be stored, tried again: %s", self.instance_id, error)  # the store tells of it
            finally:
                if live.open_turn == self._number:
                    live.asking = self._task
            try:
                await parts.clock.sleep(_FULL_DISK_PAUSE_S)
            except asyncio.CancelledError:
                self.was_late = not self.is_open
                raise

    def _applied(self, entries: Sequence[Entry], decision: Decision) -> bool:
        """Add what follows from the next actions; whether the turn is over with them."""
        parts, since, goes_on = self._parts, self._since, self.has_applied
        index = 0
        while index < len(entries):
            if count := self._applied_together(entries, index, decision, since=since, goes_on=goes_on):
                index += count
                since, goes_on = decision.at, True
                continue
            action = as_action(entries[index])
            index += 1
            if type(action) is Defer:  # an isinstance of a model costs a microsecond
                self.deferred = Deferral(action.retry_after, "the runner puts it off", action.reason)
                return True
            if goes_on and (excess := parts.limits.excess(decision.after)) is not None:
                return _is_last(Block(reason=excess), decision)
            try:
                parts.actions.apply(decision, action, turn_started_at=since, jitter=parts.jitter(), goes_on=goes_on)
            except UnknownWorkflowError as error:  # of a child; it may be registered yet
                self.deferred = Deferral(_UNKNOWN_WORKFLOW_PAUSE, NO_CHILD, str(error))
                return True
            except MalformedAnswerError as error:
                decision.add(self._failure(f"{error.code}: {error}", goes_on=goes_on))
                return True
            if _is_over(decision):
                return True
            since, goes_on = decision.at, True
        return False

    def _applied_together(
        self, entries: Sequence[Entry], first: int, decision: Decision, *, since: datetime, goes_on: bool
    ) -> int:
        """Add what follows from plain steps in a row, all at once; how many of them those are."""
        if type(entries[first]) is not PlainStep:
            return 0
        limits = self._parts.limits
        room = max(0, limits.records - len(decision.after.records))
        steps: list[PlainStep] = []
        for entry in islice(entries, first, first + room):
            if type(entry) is not PlainStep:
                break
            steps.append(entry)
        return decision.add_steps(
            ApplySteps(steps=steps, turn_started_at=since, goes_on=goes_on, max_bytes=limits.bytes)
        )

    def _failure(self, error: str, *, goes_on: bool) -> FailTurn:
        return FailTurn(error=error, turn_started_at=self._since, jitter=self._parts.jitter(), goes_on=goes_on)


def _is_last(command: Command, decision: Decision) -> bool:
    decision.add(command)
    return _is_over(decision)


def _is_over(decision: Decision) -> bool:
    """Whether what was decided leaves nothing more for this turn to say: a suspension, an end, another run."""
    after = decision.after
    return not is_driven(after) or after.group is not None or after.run != decision.run
