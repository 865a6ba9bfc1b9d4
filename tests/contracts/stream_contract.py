"""What every `Runner` does with an answer of many actions: the half of `runner_contract.py` that is about streams."""

import asyncio
import re
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from datetime import timedelta
from typing import Any

import pytest

from pylon_workflows.errors import (
    AnswerTooLargeError,
    MalformedAnswerError,
    RunnerError,
    RunnerUnavailableError,
    StoreError,
    TurnTimedOutError,
)
from pylon_workflows.ports import Runner
from pylon_workflows.testing import wait_until
from runner_protocol.messages import Action, Complete, StepComplete, StepStart, encode_message
from tests.contracts.runner_contract import NoAnswerError, a_turn

Actions = Callable[[], AsyncGenerator[Action, None]]
"""What a test has the far side answer; NoAnswerError is how it breaks off."""


async def unless_gone(sending: Coroutine[Any, Any, None], gone: Coroutine[Any, Any, Any]) -> bool:
    """Send until the other side has gone; whether everything was sent."""
    tasks = [asyncio.ensure_future(sending), asyncio.ensure_future(gone)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return tasks[0].done()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Applied:
    """Takes what a runner hands on; `is_open` holds up whoever hands on, `lasts` is how many actions are wanted."""

    def __init__(self, lasts: float = float("inf"), error: Exception | None = None) -> None:
        self.batches: list[Sequence[Action]] = []
        self.actions: list[Action] = []
        self.is_open = asyncio.Event()
        self.is_open.set()
        self._lasts = lasts
        self._error = error

    async def __call__(self, actions: Sequence[Action]) -> bool:
        assert actions, "nothing was handed on"
        self.batches.append(actions)
        self.actions.extend(actions)
        await self.is_open.wait()
        if self._error is not None:
            raise self._error
        return len(self.actions) < self._lasts


def step(number: int, output: object = None) -> StepComplete:
    return StepComplete(step_name="step", key=f"step#{number}", output=output)


class StreamContract(ABC):
    """What holds for whatever takes turns that are answered with a stream."""

    @abstractmethod
    def serve_stream(self, actions: Actions) -> AbstractAsyncContextManager[Runner]:
        """A runner whose far side answers with these actions, each a line."""

    async def test_all_actions_of_a_stream_come_in_order(self) -> None:
        async def actions() -> AsyncGenerator[Action, None]:
            for number in range(300):
                yield step(number)
            yield Complete(output="done")

        applied = Applied()
        async with self.serve_stream(actions) as runner:
            await runner.take_turn(a_turn(), applied)
        assert applied.actions == [*(step(number) for number in range(300)), Complete(output="done")]

    async def test_an_action_is_handed_on_while_the_far_side_goes_on(self) -> None:
        applied = Applied()

        async def actions() -> AsyncGenerator[Action, None]:
            for number in range(5):
                yield step(number)
                await wait_until(lambda before=number: len(applied.actions) > before)
            yield Complete()

        async with self.serve_stream(actions) as runner:
            await runner.take_turn(a_turn(), applied)
        assert len(applied.batches) >= 5

    async def test_a_turn_that_is_over_ends_the_stream_and_the_next_one_works(self) -> None:
        was_closed = asyncio.Event()

        async def actions() -> AsyncGenerator[Action, None]:
            try:
                for number in range(100_000):
                    yield step(number)
                    await asyncio.sleep(0.001)
            finally:
                was_closed.set()

        applied = Applied(lasts=3)
        async with self.serve_stream(actions) as runner:
            await runner.take_turn(a_turn(), applied)
            assert len(applied.batches[-1]) < 100
            await asyncio.wait_for(was_closed.wait(), 60)
            again = Applied(lasts=1)
            await runner.take_turn(a_turn(), again)
            assert again.actions[0] == step(0)

    async def test_a_cancelled_stream_is_given_up_at_once(self) -> None:
        was_closed = asyncio.Event()

        async def actions() -> AsyncGenerator[Action, None]:
            try:
                yield step(0)
                await asyncio.get_running_loop().create_future()
            finally:
                was_closed.set()

        applied = Applied()
        async with self.serve_stream(actions) as runner:
            turn = asyncio.ensure_future(runner.take_turn(a_turn(), applied))
            await wait_until(lambda: applied.actions)
            turn.cancel()
            with pytest.raises(asyncio.CancelledError):
                await turn
            await asyncio.wait_for(was_closed.wait(), 60)

    async def test_what_apply_raises_comes_back_as_it_is(self) -> None:
        async def actions() -> AsyncGenerator[Action, None]:
            yield step(0)
            yield step(1)

        for trouble in (StoreError("the disk is broken"), TimeoutError("the store's own"), OSError("odd")):
            async with self.serve_stream(actions) as runner:
                with pytest.raises(type(trouble)) as caught:
                    await runner.take_turn(a_turn(), Applied(error=trouble))
            assert caught.value is trouble

    async def test_a_stream_that_breaks_off_is_unavailable_and_what_came_before_it_counts(self) -> None:
        async def actions() -> AsyncGenerator[Action, None]:
            yield step(0)
            yield step(1)
            raise NoAnswerError

        applied = Applied()
        async with self.serve_stream(actions) as runner:
            with pytest.raises(RunnerUnavailableError):
                await runner.take_turn(a_turn(), applied)
        assert applied.actions == [step(0), step(1)]

    async def test_a_stream_that_just_ends_has_ended_the_turn(self) -> None:
        async def actions() -> AsyncGenerator[Action, None]:
            yield step(0)

        applied = Applied()
        async with self.serve_stream(actions) as runner:
            await runner.take_turn(a_turn(), applied)
        assert applied.actions == [step(0)]

    @pytest.mark.slow
    async def test_each_action_has_the_time_of_a_turn_and_silence_is_a_timeout(self) -> None:
        sent = 0

        async def actions() -> AsyncGenerator[Action, None]:
            nonlocal sent
            ends_at = time.monotonic() + 1.5
            while time.monotonic() < ends_at:
                yield step(sent)
                sent += 1
                await asyncio.sleep(0.1)
            await asyncio.get_running_loop().create_future()

        applied = Applied()
        async with self.serve_stream(actions) as runner:
            began = time.monotonic()
            with pytest.raises(TurnTimedOutError, match=r"^timed out after 1 s$"):
                await runner.take_turn(a_turn(timeout_s=1), applied)
            assert time.monotonic() - began > 2.0
        assert len(applied.actions) == sent

    @pytest.mark.slow
    async def test_a_slow_apply_does_not_use_up_the_time_of_the_next_action(self) -> None:
        async def actions() -> AsyncGenerator[Action, None]:
            yield step(0)
            await asyncio.sleep(0.2)
            yield step(1)

        applied = Applied()
        applied.is_open.clear()
        async with self.serve_stream(actions) as runner:
            turn = asyncio.ensure_future(runner.take_turn(a_turn(timeout_s=1), applied))
            await wait_until(lambda: applied.actions)
            await asyncio.wait([turn], timeout=1.3)
            applied.is_open.set()
            await turn
        assert applied.actions == [step(0), step(1)]

    @pytest.mark.slow
    async def test_a_step_that_says_so_may_take_longer_and_nobody_else_hears_of_it(self) -> None:
        async def actions() -> AsyncGenerator[Action, None]:
            yield StepStart(step_name="step", key="step#1", timeout=timedelta(seconds=30))
            await asyncio.sleep(1.3)
            yield step(1)
            await asyncio.get_running_loop().create_future()

        applied = Applied()
        async with self.serve_stream(actions) as runner:
            with pytest.raises(TurnTimedOutError, match=r"^timed out after 1 s$"):
                await runner.take_turn(a_turn(timeout_s=1), applied)
        assert applied.actions == [step(1)]

    async def test_a_far_side_that_is_faster_than_apply_is_slowed_down(self) -> None:
        sent = 0

        async def actions() -> AsyncGenerator[Action, None]:
            nonlocal sent
            for number in range(1000):
                yield step(number, "x" * 65_536)
                sent = number

        applied = Applied()
        applied.is_open.clear()
        async with self.serve_stream(actions) as runner:
            turn = asyncio.ensure_future(runner.take_turn(a_turn(), applied))
            await wait_until(lambda: applied.actions)
            before = -1
            while before != sent:
                before = sent
                await asyncio.wait([turn], timeout=0.3)
            assert sent < 500, "more than the sockets hold was taken"
            turn.cancel()
            with suppress(asyncio.CancelledError):
                await turn


Pieces = Callable[[], AsyncGenerator[bytes, None]]
"""What a test has the far side send as the body of a stream, cut anywhere."""


class WireStreamContract(StreamContract):
    """What holds, besides, where the far side answers with bytes (PROTOCOL.md sections 2 and 4)."""

    @abstractmethod
    def serve_pieces(self, pieces: Pieces) -> AbstractAsyncContextManager[Runner]:
        """A runner whose far side streams these pieces; NoAnswerError breaks it off."""

    def serve_stream(self, actions: Actions) -> AbstractAsyncContextManager[Runner]:
        async def pieces() -> AsyncGenerator[bytes, None]:
            async with aclosing(actions()) as given:
                async for action in given:
                    yield encode_message(action) + b"\n"

        return self.serve_pieces(pieces)

    async def taken(
        self, *sent: bytes, then: Exception | None = None, timeout_s: float = 10.0
    ) -> tuple[Sequence[Action], Exception | None]:
        """What one turn hands on and how it ends, when the far side sends these pieces."""

        async def pieces() -> AsyncGenerator[bytes, None]:
            for piece in sent:
                yield piece
            if then is not None:
                raise then

        applied = Applied()
        async with self.serve_pieces(pieces) as runner:
            try:
                await runner.take_turn(a_turn(timeout_s=timeout_s), applied)
            except RunnerError as error:
                return applied.actions, error
        return applied.actions, None

    async def test_lines_may_be_cut_anywhere(self) -> None:
        whole = b'{"action":"step_complete","key":"\xc3\xa4"}\n{"action":"complete"}\n'
        actions, error = await self.taken(*(whole[place : place + 1] for place in range(len(whole))))
        assert actions == [StepComplete(key="ä"), Complete()]
        assert error is None

    async def test_blank_lines_and_white_space_are_nothing(self) -> None:
        actions, error = await self.taken(b"\n\r\n \n", b'{"action":"complete"}\r\n', b"\n\n")
        assert (actions, error) == ([Complete()], None)

    async def test_a_hundred_thousand_blank_lines_are_read_over(self) -> None:
        actions, error = await self.taken(*[b"\n" * 10_000] * 10, b'{"action":"complete"}\n')
        assert (actions, error) == ([Complete()], None)

    async def test_the_last_line_needs_no_end(self) -> None:
        assert await self.taken(b'{"action":"step_complete"}\n{"action":"complete"}') == (
            [StepComplete(), Complete()],
            None,
        )

    async def test_half_a_line_at_the_end_was_cut_off_and_is_nobodys_failed_attempt(self) -> None:
        actions, error = await self.taken(b'{"action":"step_complete"}\n{"action":"comp')
        assert actions == [StepComplete()]
        assert isinstance(error, RunnerUnavailableError)
        assert str(error) == "the runner's stream broke off in line 2"

    @pytest.mark.parametrize(
        ("line", "named"),
        [
            (b"<html>", r"line 2: not JSON"),
            (b"\xff\xfe{}", r"line 2: the text is not UTF-8"),
            (b'\xef\xbb\xbf{"action":"complete"}', r"line 2: not JSON"),
            (b'{"action":"complete","output":NaN}', r"line 2: NaN is not JSON"),
            (b'{"action":"complete","action":"fail"}', r"line 2: the key 'action' stands twice"),
            (b'{"action":"explode"}', r"line 2: action: 'explode'"),
            (b'{"step_name":"charge"}', r"line 2: action: the field is missing"),
            (b'[{"action":"complete"}]', r"line 2: the message is no JSON object"),
            (b'{"action":"complete"}{"action":"complete"}', r"line 2: not JSON: Extra data"),
            (b'{"action":"complete","output":' + b"[" * 99 + b"]" * 99 + b"}", r"line 2: .*deeper than 64"),
        ],
    )
    async def test_a_line_that_is_no_action_ends_the_turn_and_what_came_before_it_counts(
        self, line: bytes, named: str
    ) -> None:
        actions, error = await self.taken(b'{"action":"step_complete"}\n%b\n{"action":"complete"}\n' % line)
        assert actions == [StepComplete()]
        assert isinstance(error, MalformedAnswerError)
        assert re.search(named, str(error)), error
        assert len(str(error)) < 500

    async def test_a_line_beyond_the_limit_is_malformed_before_it_has_come_whole(self) -> None:
        sent = 0

        async def pieces() -> AsyncGenerator[bytes, None]:
            nonlocal sent
            yield b'{"action":"step_complete"}\n{"action":"complete","output":"'
            while sent < 1000:
                yield b"x" * 65_536
                sent += 1

        applied = Applied()
        async with self.serve_pieces(pieces) as runner:
            with pytest.raises(AnswerTooLargeError, match="line 2 is larger than 4194304 bytes"):
                await runner.take_turn(a_turn(), applied)
        assert applied.actions == [StepComplete()]
        assert sent < 500

    async def test_a_line_of_four_megabytes_is_an_action(self) -> None:
        text = "x" * 4_000_000
        actions, error = await self.taken(b'{"action":"complete","output":"%b"}\n' % text.encode())
        assert (actions, error) == ([Complete(output=text)], None)

    @pytest.mark.parametrize(
        "sent", [b"", b"\n\n", b'{"action":"step_start","step_name":"a","key":"a","timeout":"1m"}\n']
    )
    async def test_a_stream_without_an_action_is_no_answer(self, sent: bytes) -> None:
        actions, error = await self.taken(sent)
        assert actions == []
        assert isinstance(error, RunnerUnavailableError), "it would be asked again at once, for ever"

    @pytest.mark.parametrize("beginning", [b"", b'{"action":"comp', b"\n"])
    async def test_half_a_line_and_silence_are_a_timeout(self, beginning: bytes) -> None:
        async def pieces() -> AsyncGenerator[bytes, None]:
            yield b'{"action":"step_complete"}\n' + beginning
            await asyncio.get_running_loop().create_future()

        applied = Applied()
        async with self.serve_pieces(pieces) as runner:
            with pytest.raises(TurnTimedOutError):
                await runner.take_turn(a_turn(timeout_s=0.5), applied)
        assert applied.actions == [StepComplete()]

    async def test_blank_lines_move_no_deadline(self) -> None:
        async def pieces() -> AsyncGenerator[bytes, None]:
            while True:
                yield b"\n"
                await asyncio.sleep(0.02)

        async with self.serve_pieces(pieces) as runner:
            began = time.monotonic()
            with pytest.raises(TurnTimedOutError):
                await runner.take_turn(a_turn(timeout_s=0.3), Applied())
            assert time.monotonic() - began < 60

    async def test_steps_that_are_said_to_run_are_bounded(self) -> None:
        def starts(first: int) -> bytes:
            return b"".join(
                b'{"action":"step_start","step_name":"a","key":"a%d","timeout":"100d"}\n' % number
                for number in range(first, first + 500)
            )

        actions, error = await self.taken(*(starts(first) for first in range(0, 10_500, 500)))
        assert actions == []
        assert isinstance(error, MalformedAnswerError)
        assert "more than 10000 steps are said to run at once" in str(error)
