"""Turns: ask the runner about an instance and apply what it answers (PROTOCOL.md sections 2 and 4)."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar

from pylon_workflows.changes import Changes
from pylon_workflows.core.commands import ApplyAction, Block, FailTurn
from pylon_workflows.core.instance import Instance
from pylon_workflows.errors import (
    CorruptDatabaseError,
    MalformedAnswerError,
    RunnerUnavailableError,
    StorageFullError,
    StoreError,
    TurnTimedOutError,
    UnknownInstanceError,
    UnreadableInstanceError,
)
from pylon_workflows.live_instances import LiveInstance, LiveInstances
from pylon_workflows.ports import Clock, Runner, Turn
from pylon_workflows.runner_health import DROPPED_TURNS_UNTIL_BLOCKED, RunnerHealth
from pylon_workflows.turn_request import JoinedRecords, idempotency_key, request_body
from runner_protocol.messages import Defer

_log = logging.getLogger(__name__)

T = TypeVar("T")

_STORE_TROUBLE_PAUSE_S = 1.0
_UNREADABLE_PAUSE_S = 60.0
_SHORTEST_DEFERRAL_S = 0.1
_LONGEST_DEFERRAL_S = 300.0

Answer = ApplyAction | FailTurn | Block | float
"""What a turn led to: something to decide, or the seconds after which to ask again."""


class Turns:
    """Takes turns with one runner.

    What is only waited for (an unavailable runner, a deferral) is kept in memory and not written. `is_crowded` says
    of a workflow whether its places are wanted; then an instance of it that has had its turn steps back.
    """

    def __init__(
        self,
        runner: Runner,
        health: RunnerHealth,
        clock: Clock,
        changes: Changes,
        live: LiveInstances,
        *,
        is_crowded: Callable[[str], bool],
        jitter: Callable[[], float],
        max_records: int,
        max_history_bytes: int,
    ) -> None:
        self._runner = runner
        self._health = health
        self._clock = clock
        self._changes = changes
        self._live = live
        self._is_crowded = is_crowded
        self._jitter = jitter
        self._max_records = max_records
        self._max_history_bytes = max_history_bytes
        self._deferrals: dict[str, int] = {}
        self.stale_answers = 0

    async def drive(self, instance_id: str) -> float | None:
        """Take turns until the instance has to wait; returns the seconds after which to drive it again, or None."""
        task = asyncio.current_task()
        with self._live.use(instance_id) as live:
            try:
                turns = live.turns
                while True:
                    pause_s = await self._take_turn(live, instance_id, task)
                    if pause_s is not None:
                        return pause_s
                    if live.turns == turns and _has_to_wait(live):
                        # It has changed since it was offered, or its row said what is not so. Who wakes it meanwhile
                        # leaves it to this drive.
                        await self._changes.mend(instance_id)
                    if _has_to_wait(live):
                        self._forget(instance_id)
                        live.forget_records()
                        return None
                    if live.instance is None or self._is_crowded(live.instance.origin.name):
                        return 0.0
            except (UnknownInstanceError, UnreadableInstanceError):  # deleted since it was offered, or parked
                self._forget(instance_id)
                return None
            except CorruptDatabaseError as error:
                _log.error("%s: cannot be driven: %s", instance_id, error)
                return _UNREADABLE_PAUSE_S
            except StoreError as error:
                _log.warning("%s: could not be stored, tried again: %s", instance_id, error)
                return _STORE_TROUBLE_PAUSE_S

    async def _take_turn(self, live: LiveInstance, instance_id: str, task: asyncio.Task[Any] | None) -> float | None:
        instance = live.instance
        if instance is None or live.users > 1:  # whoever else is here came first
            async with live.lock:
                instance = await self._changes.load(live, instance_id)
        # Nothing is awaited from here until the turn is open, so that nobody changes the instance in between.
        if not instance.is_runnable:
            return None
        if len(instance.records) >= self._max_records or instance.history_bytes >= self._max_history_bytes:
            await self._changes.change(instance_id, Block(reason=self._too_large(instance)))
            return None
        turn = live.begin_turn()
        began_at = self._clock.now()
        try:
            answer = await self._unless_given_up(live, turn, task, self._ask(instance, live.records, began_at))
        except Exception:
            live.end_turn(turn)
            raise
        while answer is not None:
            try:
                return await self._apply(live, instance_id, turn, began_at, answer)
            except StorageFullError as error:  # nothing was changed; asking again would run the step again
                _log.debug("%s: could not be stored, tried again: %s", instance_id, error)  # the store has told of it
                await self._unless_given_up(live, turn, task, self._clock.sleep(_STORE_TROUBLE_PAUSE_S))
        return None

    async def _unless_given_up(
        self, live: LiveInstance, turn: int, task: asyncio.Task[Any] | None, work: Awaitable[T]
    ) -> T | None:
        """What the work returns; None as soon as the turn is given up."""
        live.asking = task
        try:
            return await work
        except asyncio.CancelledError:
            if live.end_turn(turn) or task is None:
                raise
            task.uncancel()
            return None
        finally:
            live.asking = None

    async def _apply(
        self, live: LiveInstance, instance_id: str, turn: int, began_at: datetime, answer: Answer
    ) -> float | None:
        """What the answer leads to, when its turn is still the instance's; on a full disk the turn stays open."""
        async with live.lock:
            if not live.end_turn(turn):
                self.stale_answers += 1
                _log.info("%s: an answer came too late and was dropped (%d so far)", instance_id, self.stale_answers)
                return None
            if isinstance(answer, float):
                return answer
            self._health.goes_on(instance_id)
            if live.instance is None:  # a change that could not be stored has forgotten it
                await self._changes.load(live, instance_id)
            try:
                try:
                    await self._changes.execute(live, answer)
                except MalformedAnswerError as error:
                    failure = FailTurn(error=f"{error.code}: {error}", turn_started_at=began_at, jitter=self._jitter())
                    await self._changes.execute(live, failure)
            except StorageFullError:
                live.open_turn = turn
                raise
        return None

    def _too_large(self, instance: Instance) -> str:
        return (
            f"history-too-large: this run has {len(instance.records)} records and {instance.history_bytes} bytes, "
            f"the limits are {self._max_records} and {self._max_history_bytes}"
        )

    async def _ask(self, instance: Instance, records: JoinedRecords, began_at: datetime) -> Answer:
        timeout = instance.origin.step_timeout
        await records.catch_up(instance)
        turn = Turn(
            instance_id=instance.id,
            body=request_body(instance, records.json(instance), began_at=began_at, deadline=began_at + timeout),
            idempotency_key=idempotency_key(instance),
            timeout_s=timeout / timedelta(seconds=1),
        )
        self._health.asked(instance.id, instance.origin.name)
        try:
            action = await self._runner.take_turn(turn)
        except RunnerUnavailableError as error:
            return self._unavailable(instance.id, instance.origin.name, error)
        except TurnTimedOutError as error:
            return FailTurn(error=str(error), turn_started_at=began_at, jitter=self._jitter())
        except MalformedAnswerError as error:
            self._answered(instance.id, instance.origin.name)
            return FailTurn(error=f"{error.code}: {error}", turn_started_at=began_at, jitter=self._jitter())
        self._answered(instance.id, instance.origin.name)
        if isinstance(action, Defer):
            return self._deferred(instance.id, action)
        if self._deferrals:
            self._deferrals.pop(instance.id, None)
        return ApplyAction(action=action, turn_started_at=began_at, jitter=self._jitter())

    def _forget(self, instance_id: str) -> None:
        self._deferrals.pop(instance_id, None)
        self._health.forget(instance_id)

    def _answered(self, instance_id: str, name: str) -> None:
        if self._health.is_failing(name):
            _log.info("%s: the runner answers again", instance_id)
        self._health.answered(instance_id)

    def _unavailable(self, instance_id: str, name: str, error: RunnerUnavailableError) -> float | Block:
        reason = str(error).partition("; the body begins ")[0]  # a log holds no bodies
        if not self._health.is_failing(name):  # once an outage
            _log.warning("%s: the runner is unavailable, it is asked again and again: %s", instance_id, reason)
        delay_s = self._health.failed(instance_id, error, monotonic=self._clock.monotonic(), jitter=self._jitter())
        if self._health.has_killed_runner(instance_id):
            self._health.forget(instance_id)
            return Block(
                reason=f"the runner dies on this step: the connection broke {DROPPED_TURNS_UNTIL_BLOCKED} times "
                f"while other instances were answered; the last time: {error}"
            )
        self._health.put_off(instance_id, f"the runner is unavailable: {reason}", self._clock.now())
        return delay_s

    def _deferred(self, instance_id: str, action: Defer) -> float:
        count = self._deferrals.get(instance_id, 0)
        if count == 0:
            _log.warning("%s: the runner puts it off, it is asked again and again: %s", instance_id, action.reason)
        self._deferrals[instance_id] = count + 1
        self._health.put_off(instance_id, f"the runner puts it off: {action.reason}", self._clock.now())
        asked_for_s = max(action.retry_after / timedelta(seconds=1), _SHORTEST_DEFERRAL_S)
        return max(asked_for_s, min(asked_for_s * 2.0 ** min(count, 30), _LONGEST_DEFERRAL_S))


def _has_to_wait(live: LiveInstance) -> bool:
    return live.instance is not None and not live.instance.is_runnable
