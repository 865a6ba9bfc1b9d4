"""What every `Runner` does (the ports): subclass `RunnerContract`, `WireContract` where the far side answers with a
status and bytes, or `HeaderContract` where it answers with headers too.

The subclass says in `serve` (`serve_replies`) how a runner comes to ask the function that the test gives.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

import pytest

from pylon_workflows.errors import MalformedAnswerError, RunnerUnavailableError, TurnTimedOutError
from pylon_workflows.ports import Runner, Turn
from runner_protocol.messages import Action, Complete, Fail, Sleep, StepComplete, encode_message
from runner_protocol.strict_json import encode, parse

Answer = Callable[[bytes], Awaitable[Action]]
"""What a test has the far side do with a request's body; NoAnswerError is how it fails to answer."""


class NoAnswerError(Exception):
    """The far side breaks down instead of answering."""


def a_turn(input: Any = None, *, timeout_s: float = 10.0, idempotency_key: str = "wf_1:1:0") -> Turn:
    """A question that carries `input`; runners pass its body on as it is."""
    body = encode({"workflow_id": "wf_1", "input": input})
    return Turn(instance_id="wf_1", workflow="order", body=body, idempotency_key=idempotency_key, timeout_s=timeout_s)


async def actions_of(runner: Runner, turn: Turn) -> list[Action]:
    """All that the runner hands on of one turn."""
    taken: list[Action] = []

    async def apply(actions: Sequence[Action]) -> bool:
        assert actions, "nothing was handed on"
        taken.extend(actions)
        return True

    await runner.take_turn(turn, apply)
    return taken


async def answer_of(runner: Runner, turn: Turn) -> Action:
    """The one action of a turn that is answered with one."""
    (action,) = await actions_of(runner, turn)
    return action


def input_of(body: bytes) -> Any:
    """The input that `a_turn` put into a request."""
    return parse(body)["input"]


async def never() -> Action:
    """Wait for good."""
    answer: Action = await asyncio.get_running_loop().create_future()
    return answer


async def _echo(body: bytes) -> Action:
    return Complete(output=input_of(body))


class RunnerContract(ABC):
    """What holds for whatever takes turns."""

    @abstractmethod
    def serve(self, answer: Answer) -> AbstractAsyncContextManager[Runner]:
        """A runner whose far side answers with this function."""

    @pytest.mark.parametrize(
        "action",
        [
            StepComplete(step_name="charge", key="charge", output={"id": "ch_1", "ä": [1.5, None, True]}),
            Sleep(duration="24h"),
            Fail(step_name="charge", error="declined", retryable=False),
            Complete(output=2**63 - 1),
        ],
        ids=lambda action: str(action.action),
    )
    async def test_an_action_comes_back_as_it_was_answered(self, action: Action) -> None:
        async def answer(body: bytes) -> Action:
            return action

        async with self.serve(answer) as runner:
            assert await answer_of(runner, a_turn()) == action

    async def test_a_turn_is_asked_once_and_its_body_is_sent_as_it_is(self) -> None:
        asked: list[bytes] = []

        async def answer(body: bytes) -> Action:
            asked.append(body)
            return Complete()

        turn = a_turn({"name": "Ångström", "list": [1, 2]})
        async with self.serve(answer) as runner:
            await answer_of(runner, turn)
        assert asked == [turn.body]

    async def test_a_hundred_turns_at_once_each_get_their_own_answer(self) -> None:
        async with self.serve(_echo) as runner:
            actions = await asyncio.gather(*(answer_of(runner, a_turn(n)) for n in range(100)))
        assert [action.output for action in actions if isinstance(action, Complete)] == list(range(100))

    async def test_a_megabyte_goes_and_comes_back_whole(self) -> None:
        text = "å" * 500_000
        async with self.serve(_echo) as runner:
            assert await answer_of(runner, a_turn(text)) == Complete(output=text)

    async def test_no_answer_by_the_deadline_is_a_timeout_that_names_the_time(self) -> None:
        async def answer(body: bytes) -> Action:
            return await never()

        async with self.serve(answer) as runner:
            began = time.monotonic()
            with pytest.raises(TurnTimedOutError, match=r"^timed out after 0\.3 s$"):
                await answer_of(runner, a_turn(timeout_s=0.3))
            assert 0.25 <= time.monotonic() - began < 5

    async def test_a_turn_that_hangs_holds_up_no_other(self) -> None:
        is_released = asyncio.Event()

        async def answer(body: bytes) -> Action:
            if input_of(body) == "hang":
                await is_released.wait()
            return Complete(output=input_of(body))

        async with self.serve(answer) as runner:
            hanging = [asyncio.ensure_future(answer_of(runner, a_turn("hang"))) for _ in range(5)]
            for n in range(20):
                assert await answer_of(runner, a_turn(n)) == Complete(output=n)
            assert not any(turn.done() for turn in hanging)
            is_released.set()
            assert await asyncio.gather(*hanging) == [Complete(output="hang")] * 5

    async def test_a_cancelled_turn_is_given_up_at_once_and_the_next_one_works(self) -> None:
        has_been_asked = asyncio.Event()

        async def answer(body: bytes) -> Action:
            if input_of(body) != "hang":
                return Complete()
            has_been_asked.set()
            return await never()

        async with self.serve(answer) as runner:
            turn = asyncio.ensure_future(answer_of(runner, a_turn("hang", timeout_s=5)))
            await has_been_asked.wait()
            turn.cancel()
            began = time.monotonic()
            with pytest.raises(asyncio.CancelledError):
                await turn
            assert time.monotonic() - began < 2
            assert await answer_of(runner, a_turn()) == Complete()

    async def test_a_far_side_that_breaks_down_is_unavailable_and_asked_again_it_may_answer(self) -> None:
        is_broken = True

        async def answer(body: bytes) -> Action:
            if is_broken:
                raise NoAnswerError("the disk is on fire")
            return Complete()

        async with self.serve(answer) as runner:
            with pytest.raises(RunnerUnavailableError) as caught:
                await answer_of(runner, a_turn())
            assert str(caught.value)
            assert caught.value.retry_after_s is None
            is_broken = False
            assert await answer_of(runner, a_turn()) == Complete()


@dataclass(frozen=True)
class Reply:
    """An HTTP answer: status, body, further headers."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


ReplyTo = Callable[[bytes], Awaitable[Reply]]
_DONE = b'{"action":"complete"}'


class WireContract(RunnerContract):
    """What holds, besides, where the far side answers with a status and bytes (PROTOCOL.md section 4)."""

    @abstractmethod
    def serve_replies(self, reply_to: ReplyTo) -> AbstractAsyncContextManager[Runner]:
        """A runner whose far side replies with this function; what the function raises breaks the far side down."""

    def serve(self, answer: Answer) -> AbstractAsyncContextManager[Runner]:
        async def reply_to(body: bytes) -> Reply:
            return Reply(200, encode_message(await answer(body)))

        return self.serve_replies(reply_to)

    async def take(self, reply: Reply) -> Action:
        """Take one turn from a far side that replies so."""

        async def reply_to(body: bytes) -> Reply:
            return reply

        async with self.serve_replies(reply_to) as runner:
            return await answer_of(runner, a_turn())

    @pytest.mark.parametrize("status", [200, 201, 203, 299, 500, 501, 503, 599])
    async def test_an_action_counts_with_any_2xx_and_5xx(self, status: int) -> None:
        assert await self.take(Reply(status, _DONE)) == Complete()

    @pytest.mark.parametrize("status", [301, 302, 304, 307, 308, 400, 401, 403, 404, 405, 408, 418, 422, 425, 429, 499])
    async def test_any_3xx_and_4xx_is_unavailable_whatever_it_says(self, status: int) -> None:
        with pytest.raises(RunnerUnavailableError, match=f"answered {status}") as caught:
            await self.take(Reply(status, b"" if status == 304 else _DONE))
        assert not caught.value.has_dropped_turn

    @pytest.mark.parametrize("status", [500, 502, 503])
    @pytest.mark.parametrize("body", [b"", b"<html>oops</html>", b"{}", b'{"action":"explode"}', b'"late"'])
    async def test_a_5xx_without_a_proper_action_is_unavailable(self, status: int, body: bytes) -> None:
        with pytest.raises(RunnerUnavailableError, match=f"answered {status}"):
            await self.take(Reply(status, body))

    @pytest.mark.parametrize("reply", [Reply(204), Reply(200), Reply(200, b"<html>"), Reply(200, b"\xff{}")])
    async def test_a_2xx_that_is_no_json_is_unavailable(self, reply: Reply) -> None:
        with pytest.raises(RunnerUnavailableError, match=f"answered {reply.status}"):
            await self.take(reply)

    @pytest.mark.parametrize(
        ("body", "named"),
        [
            (b'{"step_name":"charge"}', "action"),
            (b'{"action":"explode"}', "explode"),
            (b'{"action":"sleep","duration":"-3s"}', "duration"),
            (b'{"action":"complete","output":NaN}', "NaN"),
            (b'{"action":"complete","action":"fail"}', "twice"),
            (b"[]", "no JSON object"),
        ],
    )
    async def test_json_that_is_no_action_is_malformed_and_the_error_shows_why(self, body: bytes, named: str) -> None:
        with pytest.raises(MalformedAnswerError, match=named) as caught:
            await self.take(Reply(200, body))
        assert body.decode()[:20] in str(caught.value)

    async def test_an_answer_beyond_the_limit_is_malformed(self) -> None:
        with pytest.raises(MalformedAnswerError, match="larger than 4194304 bytes"):
            await self.take(Reply(200, b'{"action":"complete","output":"%s"}' % (b"x" * 5_000_000)))


class HeaderContract(WireContract):
    """What holds, besides, where the far side answers with headers too."""

    async def test_retry_after_is_passed_on(self) -> None:
        with pytest.raises(RunnerUnavailableError) as caught:
            await self.take(Reply(503, headers={"retry-after": "12"}))
        assert caught.value.retry_after_s == 12.0

    async def test_a_compressed_answer_is_malformed(self) -> None:
        with pytest.raises(MalformedAnswerError, match="compressed"):
            await self.take(Reply(200, _DONE, {"content-encoding": "gzip"}))
        assert await self.take(Reply(200, _DONE, {"content-encoding": "identity"})) == Complete()
