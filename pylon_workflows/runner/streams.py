"""An answer of many lines, each an action, handed on while the runner goes on (PROTOCOL.md section 2)."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from pylon_workflows.errors import (
    AnswerTooLargeError,
    MalformedAnswerError,
    RunnerError,
    RunnerUnavailableError,
    TurnTimedOutError,
)
from pylon_workflows.http_client.body_stream import BodyStream
from pylon_workflows.ports import Apply
from pylon_workflows.runner.answers import LARGE_ANSWER_BYTES, beginning, format_timeout
from pylon_workflows.runner.deadline import Deadline
from pylon_workflows.runner.large_answers import read_large
from pylon_workflows.runner.lines import LineSplitter
from runner_protocol.action_lines import ActionLines, Entry, parse_actions
from runner_protocol.messages import (
    MAX_ANSWER_BYTES,
    MalformedMessageError,
    NotJsonMessageError,
    StepStart,
)

BATCH_LINES = 32
"""So many are applied together: more would keep the event loop from others for longer, and save nothing."""

MAX_RUNNING_STEPS = 10_000

GOODBYE_S = 1.0
GOODBYE_BYTES = 64 * 1024
"""So long, and so many bytes, an answer has to end after its last action, for its connection to be used again."""


class AnswerStream:
    """One streamed answer, whose first action is due at `until` on the loop's clock; `take` once."""

    def __init__(self, body: BodyStream, apply: Apply, *, timeout_s: float, until: float) -> None:
        self._body = body
        self._apply = apply
        self._now = asyncio.get_running_loop().time
        self._deadline = Deadline(timeout_s, until)
        self._lines = LineSplitter(MAX_ANSWER_BYTES)
        self._count = 0
        self._has_action = False

    async def take(self) -> None:
        """Hand on what comes until the end, the deadline, or until nobody wants more.

        Raises:
            MalformedAnswerError: a line is no proper action; those before it have been handed on. AnswerTooLargeError.
            RunnerUnavailableError: there was no action at all, or the last line was cut off.
            TurnTimedOutError, and whatever the body ends with or `apply` raises.
        """
        while data := await self._read():
            if not await self._hand_on(self._lines.feed(data)):
                await self._say_goodbye()
                return
            if self._lines.is_too_long:
                start = beginning(self._lines.rest())
                raise AnswerTooLargeError(f"line {self._count + 1} is larger than {MAX_ANSWER_BYTES} bytes{start}")
        if (rest := self._lines.rest()) and not await self._hand_on([rest], is_cut_off=True):
            return
        if not self._has_action:
            raise RunnerUnavailableError("the runner's stream ended without an action")

    async def _read(self) -> bytes:
        try:
            return await self._body.read(self._deadline.at)
        except TimeoutError:
            raise TurnTimedOutError(format_timeout(self._deadline.length_s)) from None

    async def _hand_on(self, lines: Sequence[bytes], *, is_cut_off: bool = False) -> bool:
        """Apply the lines' actions; whether more is wanted."""
        for first in range(0, len(lines), BATCH_LINES):
            some = lines[first : first + BATCH_LINES]
            is_large = sum(map(len, some)) > LARGE_ANSWER_BYTES
            actions, trouble = await read_large(self._parse, some) if is_large else self._parse(some)
            actions, trouble = self._without_starts(actions, trouble)
            if actions:
                self._has_action = True
                if not await self._apply(actions):
                    return False
                self._deadline.applied(self._now())
            if trouble is not None:
                raise self._told(trouble, is_cut_off=is_cut_off)
        return True

    def _parse(self, lines: Sequence[bytes]) -> tuple[ActionLines, MalformedMessageError | None]:
        """The actions of the lines, up to one that is none, and what is wrong with that."""
        actions, trouble = parse_actions(lines)
        self._count += len(actions) + (trouble is not None)
        return actions, trouble

    def _without_starts(
        self, actions: ActionLines, trouble: MalformedMessageError | None
    ) -> tuple[ActionLines, MalformedMessageError | None]:
        """Note which steps begin and end; a `step_start` is for nobody else."""
        if not self._deadline.steps and StepStart not in set(map(type, actions.entries)):
            return actions, trouble
        others: list[Entry] = []
        for entry in actions.entries:
            if type(entry) is not StepStart:
                others.append(entry)
                if self._deadline.steps and (key := getattr(entry, "key", None)) is not None:
                    self._deadline.step_ended(key)
            elif self._deadline.steps < MAX_RUNNING_STEPS:
                self._deadline.step_started(entry.key, entry.timeout.total_seconds(), self._now())
            else:
                trouble = MalformedMessageError(f"more than {MAX_RUNNING_STEPS} steps are said to run at once")
                break
        return ActionLines(others), trouble

    def _told(self, trouble: MalformedMessageError, *, is_cut_off: bool) -> RunnerError:
        if is_cut_off and isinstance(trouble, NotJsonMessageError):
            return RunnerUnavailableError(f"the runner's stream broke off in line {self._count}", has_dropped_turn=True)
        return MalformedAnswerError(f"line {self._count}: {trouble}")

    async def _say_goodbye(self) -> None:
        """Read over the end of an answer that has said all; one that does not end is hung up."""
        until, size = self._now() + GOODBYE_S, 0
        with suppress(Exception):  # however it ends: nobody waits for it
            while size <= GOODBYE_BYTES and (data := await self._body.read(until)):
                size += len(data)
