"""Turns: ask the runner about an instance and apply what it answers (PROTOCOL.md sections 2 and 4)."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from pylon_workflows.actions import Actions
from pylon_workflows.call_places import CallPlaces
from pylon_workflows.changes import Changes
from pylon_workflows.core.commands import Block
from pylon_workflows.core.instance import Instance
from pylon_workflows.deferrals import Deferrals
from pylon_workflows.dispatcher import AnotherWorkflow
from pylon_workflows.errors import (
    CorruptDatabaseError,
    MalformedAnswerError,
    RunnerUnavailableError,
    StoreError,
    TurnTimedOutError,
    UnknownInstanceError,
    UnreadableInstanceError,
)
from pylon_workflows.hook_keys import HookKeys
from pylon_workflows.live_instances import LiveInstance, LiveInstances
from pylon_workflows.members import Members
from pylon_workflows.open_turn import Deferral, OpenTurn, RunLimits, TurnParts
from pylon_workflows.ports import Clock, Runner, Turn
from pylon_workflows.runner_health import DROPPED_TURNS_UNTIL_BLOCKED, RunnerHealth
from pylon_workflows.turn_request import JoinedRecords, idempotency_key, request_body
from pylon_workflows.turnstile import Turnstile

_log = logging.getLogger(__name__)

_STORE_TROUBLE_PAUSE_S = 1.0
_UNREADABLE_PAUSE_S = 60.0


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
        is_crowded: Callable[[str, int], bool],
        jitter: Callable[[], float],
        max_records: int,
        max_history_bytes: int,
        call_places: CallPlaces,
        actions: Actions,
        hooks: HookKeys,
    ) -> None:
        self._runner = runner
        self._hooks = hooks
        self._health = health
        self._clock = clock
        self._changes = changes
        self._live = live
        self._is_crowded = is_crowded
        self._jitter = jitter
        self._limits = RunLimits(max_records, max_history_bytes)
        self._parts = TurnParts(changes, actions, clock, health, self._limits, jitter, Turnstile(), self._drop_late)
        self._members = Members(
            runner=runner,
            hooks=hooks,
            health=health,
            clock=clock,
            places=call_places,
            limits=self._limits,
            is_crowded=is_crowded,
            jitter=jitter,
        )
        self._deferrals = Deferrals()
        self.stale_answers = 0

    async def drive(self, instance_id: str, name: str) -> float | None:
        """Take turns until the instance has to wait; returns the seconds after which to drive it again, or None.

        Raises AnotherWorkflow when it is not one of the workflow `name`.
        """
        task = asyncio.current_task()
        with self._live.use(instance_id) as live:
            try:
                turns = live.turns
                while True:
                    pause_s = await self._take_turn(live, instance_id, name, task)
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
                    if live.instance is None or self._is_crowded(name, 1):
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

    async def _take_turn(
        self, live: LiveInstance, instance_id: str, name: str, task: asyncio.Task[Any] | None
    ) -> float | None:
        instance = live.instance
        if instance is None or live.users > 1:  # whoever else is here came first
            async with live.lock:
                instance = await self._changes.load(live, instance_id)
        # Nothing is awaited from here until the turn is open, so that nobody changes the instance in between.
        if not instance.is_runnable:
            return None
        if instance.origin.name != name:
            raise AnotherWorkflow(instance.name)
        if excess := self._limits.excess(instance):
            await self._changes.change(instance_id, Block(reason=excess))
            return None
        turn = OpenTurn(self._parts, live, task)
        try:
            if instance.group is not None:
                return await self._members.go_on(turn, live)
            return await self._ask(turn, instance, live.records)
        except asyncio.CancelledError:
            if turn.is_open or task is None:
                raise
            task.uncancel()  # the turn was given up, not the drive
            return None
        finally:
            turn.end()
            if turn.was_late:
                self._drop_late(instance_id)

    async def _ask(self, turn: OpenTurn, instance: Instance, records: JoinedRecords) -> float | None:
        """Have the runner answer; the seconds after which to ask again, or None."""
        timeout = instance.terms.step_timeout
        turn.listen()
        await records.catch_up(instance)
        question = Turn(
            instance_id=instance.id,
            workflow=instance.name,
            version=instance.version,
            body=request_body(
                instance,
                records.json(instance),
                began_at=turn.began_at,
                deadline=turn.began_at + timeout,
                hooks=self._hooks.member(instance.id),
            ),
            idempotency_key=idempotency_key(instance),
            timeout_s=timeout.total_seconds(),
        )
        self._health.asked(instance.id, instance.name, instance.version)
        try:
            await self._runner.take_turn(question, turn.apply)
            if not turn.has_answer:
                raise RunnerUnavailableError("the runner answered without an action")
        except RunnerUnavailableError as error:
            return await self._unavailable(turn, error)
        except TurnTimedOutError as error:
            await turn.fail(str(error))
        except MalformedAnswerError as error:
            turn.hear()
            await turn.fail(f"{error.code}: {error}")
        if turn.has_applied:
            self._deferrals.forget(instance.id)
        return None if turn.deferred is None else self._deferred(instance.id, turn.deferred)

    def _drop_late(self, instance_id: str) -> None:
        self.stale_answers += 1
        _log.info("%s: an answer came too late and was dropped (%d so far)", instance_id, self.stale_answers)

    def _forget(self, instance_id: str) -> None:
        self._deferrals.forget(instance_id)
        self._health.forget(instance_id)

    async def _unavailable(self, turn: OpenTurn, error: RunnerUnavailableError) -> float | None:
        instance_id, name = turn.instance_id, turn.name
        reason = str(error).partition("; the body begins ")[0]  # a log holds no bodies
        if not self._health.is_failing(name):  # once an outage
            _log.warning("%s: the runner is unavailable, it is asked again and again: %s", instance_id, reason)
        if turn.has_answer:
            self._health.asked(instance_id, name, turn.version)  # it has answered, and then it has not
        delay_s = self._health.failed(instance_id, error, monotonic=self._clock.monotonic(), jitter=self._jitter())
        if self._health.has_killed_runner(instance_id):
            self._health.forget(instance_id)
            await turn.block(
                f"the runner dies on this step: the connection broke {DROPPED_TURNS_UNTIL_BLOCKED} times "
                f"while other instances were answered; the last time: {error}"
            )
            return None
        self._health.put_off(instance_id, f"the runner is unavailable: {reason}", self._clock.now())
        return delay_s if await turn.still_counts() else None

    def _deferred(self, instance_id: str, deferral: Deferral) -> float:
        if instance_id not in self._deferrals:
            _log.warning("%s: %s, it is asked again and again: %s", instance_id, deferral.matter, deferral.reason)
        self._health.put_off(instance_id, f"{deferral.matter}: {deferral.reason}", self._clock.now())
        return self._deferrals.put_off(instance_id, deferral.retry_after)


def _has_to_wait(live: LiveInstance) -> bool:
    return live.instance is not None and not live.instance.is_runnable
