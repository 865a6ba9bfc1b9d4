"""Goes through a `parallel` or a `map`: its members asked for one by one, several at a time (PROTOCOL.md section 5).

While a group is open its instance has no other turn. What the calls lead to is written as it comes, so nothing that is
recorded runs again, whenever the process ends; what a runner only puts off is kept in memory.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from pylon_workflows.call_places import CallPlaces
from pylon_workflows.core.commands import ApplyMember, EndGroup
from pylon_workflows.core.groups import Group
from pylon_workflows.core.instance import Instance
from pylon_workflows.decision import Decision
from pylon_workflows.errors import MalformedAnswerError, RunnerUnavailableError, TurnTimedOutError
from pylon_workflows.hook_keys import HookKeys
from pylon_workflows.live_instances import LiveInstance, is_driven
from pylon_workflows.member_calls import MemberAnswer, call_member
from pylon_workflows.open_turn import OpenTurn, RunLimits
from pylon_workflows.ports import Clock, Runner
from pylon_workflows.runner_health import DROPPED_TURNS_UNTIL_BLOCKED, RunnerHealth
from pylon_workflows.wave import Wave
from runner_protocol.messages import Defer

_log = logging.getLogger("pylon_workflows.turns")  # one name for all that a person reads of turns

_LONGEST_NAP_S = 0.5
"""The time of day may jump, so a retry's time is looked at twice a second at least (P16)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """Goes through open groups, one `go_on` for each at a time.

    The first call of a group uses the place of its instance; each further one needs one of `places`.
    """

    runner: Runner
    hooks: HookKeys
    health: RunnerHealth
    clock: Clock
    places: CallPlaces
    limits: RunLimits
    is_crowded: Callable[[str, int], bool]
    jitter: Callable[[], float]

    async def go_on(self, turn: OpenTurn, live: LiveInstance) -> float | None:
        """Call members until the group has ended, nothing of it can be called now, or the place is wanted.

        Returns the seconds after which to go on when only what is not written is waited for, else None.
        """
        passage = _Passage(self, turn, live)
        try:
            return await passage.run()
        finally:
            await passage.end()


class _Passage:
    """A way through an open group, from when its instance is driven until it is driven no longer."""

    def __init__(self, of: Members, turn: OpenTurn, live: LiveInstance) -> None:
        self._of = of
        self._turn = turn
        self._live = live
        self._instance = live.loaded
        self._group = _open(self._instance)
        former, live.wave = live.wave, None  # it is kept again when all that it has given out is accounted for
        self._wave = former if former is not None and former.is_of(self._group) else Wave(self._group)
        self._records_json = b""
        self._calls: dict[int, asyncio.Task[None]] = {}
        self._answers: list[MemberAnswer] = []
        self._failure: Exception | None = None
        self._stir = asyncio.Event()
        self._alarm: asyncio.Task[None] | None = None
        self._lease = of.places.lease(self._instance.name, self._stir.set)
        self._is_leaving = False
        self._has_found_none = False
        self._killer: RunnerUnavailableError | None = None

    async def run(self) -> float | None:
        """See `Members.go_on`."""
        self._turn.listen()
        await self._live.records.catch_up(self._instance)
        self._records_json = self._live.records.json(self._instance)
        while True:
            self._stir.clear()
            if self._failure is not None:
                raise self._failure
            answers, self._answers = self._answers, []
            if answers and not await self._take(answers):
                return None
            self._issue()
            if self._calls:
                await self._stir.wait()
            elif self._group.is_failing:
                await self._turn.conclude(EndGroup(run=self._instance.run, group=self._group.key))
                return None
            else:
                return self._pause_s()

    async def end(self) -> None:
        """Cut off what is still asked for."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._lease.end()
        for index, task in self._calls.items():
            task.cancel()
            self._of.health.forget(self._call_id(index))
        await asyncio.gather(*self._calls.values(), return_exceptions=True)

    def _issue(self) -> None:
        """Call as many more as may be called now. Of a runner that does not answer that is one, to see."""
        is_away = self._of.health.is_failing(self._instance.name)
        if self._is_leaving or self._group.is_failing or (is_away and self._has_found_none):
            return
        now, monotonic = self._of.clock.now(), self._of.clock.monotonic()
        most = 1 if is_away else self._group.max_in_flight
        while len(self._calls) < most and self._lease.cover(len(self._calls) + 1):
            index = self._wave.next(self._group, now, monotonic)
            if index is None:
                self._ring_when_the_next_is_due(now, monotonic)
                break
            self._of.health.asked(self._call_id(index), self._instance.name, self._instance.version)
            call = asyncio.create_task(self._call(index), name=f"call {self._call_id(index)}")
            self._calls[index] = call
        self._lease.keep(len(self._calls))

    async def _call(self, index: int) -> None:
        of, instance, group = self._of, self._instance, self._group
        try:
            hooks = of.hooks.member(instance.id)
            answer = await call_member(of.runner, of.clock, instance, group, index, self._records_json, hooks)
        except Exception as error:
            self._failure = error
        else:
            self._answers.append(answer)
        self._stir.set()

    async def _take(self, answers: Sequence[MemberAnswer]) -> bool:
        """Write what has come; whether the group goes on."""
        commands = [command for answer in answers if (command := self._heard(answer)) is not None]
        self._lease.keep(len(self._calls))
        if self._killer is not None:
            await self._turn.block(
                f"the runner dies on this step: the connection broke {DROPPED_TURNS_UNTIL_BLOCKED} times "
                f"while others were answered; the last time: {self._killer}"
            )
            return False
        if not commands:
            return True
        self._is_leaving = self._of.is_crowded(self._instance.name, len(commands))
        if not await self._turn.commit(self._decided, commands):
            return False
        for command in commands:
            if self._group.is_unfinished(command.index):
                self._wave.retry(command.index, self._group.retry_at(command.index) or self._of.clock.now())
        excess = self._of.limits.excess(self._instance)
        if excess is not None:
            await self._turn.block(excess)
        return excess is None

    def _heard(self, answer: MemberAnswer) -> ApplyMember | None:
        """What is to be decided about an answer; nothing where it is only waited for another."""
        del self._calls[answer.index]
        call_id, health = self._call_id(answer.index), self._of.health
        if isinstance(answer.result, RunnerUnavailableError):
            self._unavailable(answer.index, answer.result)
            return None
        if isinstance(answer.result, TurnTimedOutError):
            health.forget(call_id)
        else:
            health.answered(call_id)
        if isinstance(answer.result, Defer):
            self._put_off(answer.index, answer.result)
            return None
        self._wave.deferrals.forget(call_id)
        return answer.command(self._instance, self._group, self._of.jitter())

    def _decided(self, commands: Sequence[ApplyMember], decision: Decision) -> bool:
        for command in commands:
            try:
                decision.add(command)
            except MalformedAnswerError as error:
                decision.add(replace(command, action=f"{error.code}: {error}"))
        if decision.after.group is None or not is_driven(decision.after):
            return True
        self._instance, self._group = decision.after, decision.after.group
        return False

    def _unavailable(self, index: int, error: RunnerUnavailableError) -> None:
        health, clock, name, call_id = self._of.health, self._of.clock, self._instance.name, self._call_id(index)
        reason = str(error).partition("; the body begins ")[0]  # a log holds no bodies
        if not health.is_failing(name):  # once an outage
            _log.warning("%s: the runner is unavailable, it is asked again and again: %s", self._instance.id, reason)
        delay_s = health.failed(call_id, error, monotonic=clock.monotonic(), jitter=self._of.jitter())
        if health.has_killed_runner(call_id):
            health.forget(call_id)
            self._killer = error
            return
        self._has_found_none = True
        self._wave.hold(index, clock.monotonic() + delay_s)
        self._wave.reason = f"the runner is unavailable: {reason}"

    def _put_off(self, index: int, action: Defer) -> None:
        clock, deferrals, call_id = self._of.clock, self._wave.deferrals, self._call_id(index)
        if call_id not in deferrals:
            _log.warning(
                "%s: the runner puts it off, it is asked again and again: %s (%s)",
                self._instance.id,
                action.reason,
                call_id,
            )
        self._wave.hold(index, clock.monotonic() + deferrals.put_off(call_id, action.retry_after))
        self._wave.reason = f"the runner puts it off: {action.reason}"

    def _pause_s(self) -> float | None:
        """Nothing is asked for and nothing can be: when to go on."""
        left_s = self._wave.seconds_until_next(self._of.clock.now(), self._of.clock.monotonic())
        if left_s is None and not self._is_leaving:
            raise RuntimeError(
                "a member is left of which nothing is known"
            )  # then the next passage looks at all of them
        self._live.wave = self._wave
        if self._is_leaving:
            return 0.0
        if self._instance.due_at is not None:
            return None
        self._of.health.put_off(self._instance.id, self._wave.reason, self._of.clock.now())
        return left_s

    def _ring_when_the_next_is_due(self, now: datetime, monotonic: float) -> None:
        left_s = self._wave.seconds_until_next(now, monotonic)
        if self._alarm is not None:
            self._alarm.cancel()
        if self._calls and left_s is not None:
            ring = self._ring(min(left_s, _LONGEST_NAP_S))
            self._alarm = asyncio.create_task(ring, name=f"members of {self._instance.id}")

    async def _ring(self, seconds: float) -> None:
        await self._of.clock.sleep(seconds)
        self._stir.set()

    def _call_id(self, index: int) -> str:
        return f"{self._instance.id} {self._instance.run} {self._group.member_key(index)}"


def _open(instance: Instance) -> Group:
    if instance.group is None:
        raise RuntimeError("no group is open")
    return instance.group
