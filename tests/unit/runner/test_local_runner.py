"""LocalRunner keeps the runner's contract with a function, an object that handles, and an ASGI app."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

import pytest

from pylon_workflows.errors import InvalidInputError, RunnerUnavailableError, TurnTimedOutError
from pylon_workflows.ports import Runner
from pylon_workflows.runner.local import LocalRunner
from runner_protocol.kit.runner import Runner as KitRunner
from runner_protocol.messages import Complete, Defer
from tests.contracts.describer_contract import DescriberContract, Describing
from tests.contracts.runner_contract import HeaderContract, Reply, ReplyTo, WireContract, a_turn, answer_of, never
from tests.contracts.stream_contract import Pieces, WireStreamContract, unless_gone

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
DONE = b'{"action":"complete"}'


async def respond(send: Send, reply: Reply) -> None:
    headers = [(name.encode(), value.encode()) for name, value in reply.headers.items()]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    middle = len(reply.body) // 2
    await send({"type": "http.response.body", "body": reply.body[:middle], "more_body": True})
    await send({"type": "http.response.body", "body": reply.body[middle:]})


class TestAFunction(WireContract, DescriberContract):
    @asynccontextmanager
    async def serve_replies(self, reply_to: ReplyTo) -> AsyncIterator[Describing]:
        async def target(body: bytes) -> tuple[int, bytes]:
            reply = await reply_to(body)
            return reply.status, reply.body

        async with LocalRunner(target) as runner:
            yield runner


class TestAnObjectThatHandles(WireContract, DescriberContract):
    @asynccontextmanager
    async def serve_replies(self, reply_to: ReplyTo) -> AsyncIterator[Describing]:
        class Target:
            async def handle(self, body: bytes) -> tuple[int, bytes]:
                reply = await reply_to(body)
                return reply.status, reply.body

        async with LocalRunner(Target()) as runner:
            yield runner


class TestAnApp(HeaderContract, DescriberContract):
    @asynccontextmanager
    async def serve_replies(self, reply_to: ReplyTo) -> AsyncIterator[Describing]:
        async def app(scope: Message, receive: Receive, send: Send) -> None:
            message = await receive()
            await respond(send, await reply_to(message["body"]))

        async with LocalRunner(app) as runner:
            yield runner


class TestStreamsOfAFunction(WireStreamContract):
    @asynccontextmanager
    async def serve_pieces(self, pieces: Pieces) -> AsyncIterator[Runner]:
        async def target(body: bytes) -> tuple[int, AsyncIterator[bytes]]:
            return 200, pieces()

        async with LocalRunner(target) as runner:
            yield runner


class TestStreamsOfAnObject(WireStreamContract):
    @asynccontextmanager
    async def serve_pieces(self, pieces: Pieces) -> AsyncIterator[Runner]:
        class Target:
            async def handle(self, body: bytes) -> tuple[int, bytes]:
                raise AssertionError("it streams")

            def stream(self, body: bytes) -> AsyncIterator[bytes]:
                return pieces()

        async with LocalRunner(Target()) as runner:
            yield runner


class TestStreamsOfAnApp(WireStreamContract):
    @asynccontextmanager
    async def serve_pieces(self, pieces: Pieces) -> AsyncIterator[Runner]:
        async def app(scope: Message, receive: Receive, send: Send) -> None:
            await receive()
            headers = [(b"content-type", b"application/x-ndjson; charset=utf-8")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await unless_gone(send_all(send), receive())

        async def send_all(send: Send) -> None:
            async with aclosing(pieces()) as given:
                async for piece in given:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})

        async with LocalRunner(app) as runner:
            yield runner


async def test_what_the_target_raises_is_the_reason() -> None:
    async def target(body: bytes) -> tuple[int, bytes]:
        raise TimeoutError("the database did not answer")

    with pytest.raises(RunnerUnavailableError, match="raised TimeoutError: the database did not answer"):
        await answer_of(LocalRunner(target), a_turn())


async def test_a_target_that_cancels_itself_does_not_cancel_the_caller() -> None:
    async def target(body: bytes) -> tuple[int, bytes]:
        raise asyncio.CancelledError

    with pytest.raises(RunnerUnavailableError, match="cancelled itself"):
        await answer_of(LocalRunner(target), a_turn())


async def test_an_answer_of_the_wrong_kind_is_named() -> None:
    async def target(body: bytes) -> tuple[int, bytes]:
        return 200, {"action": "complete"}  # type: ignore[return-value]

    with pytest.raises(RunnerUnavailableError, match=r"returned \(int, dict\), not \(int, bytes\)"):
        await answer_of(LocalRunner(target), a_turn())


async def test_a_target_that_swallows_the_deadline_has_timed_out_all_the_same() -> None:
    async def target(body: bytes) -> tuple[int, bytes]:
        with suppress(asyncio.CancelledError):
            await never()
        return 200, DONE

    with pytest.raises(TurnTimedOutError, match=r"^timed out after 0\.05 s$"):
        await answer_of(LocalRunner(target), a_turn(timeout_s=0.05))


@pytest.mark.parametrize("target", [None, "http://localhost", object(), lambda: None, lambda a, b: None])
def test_a_target_that_cannot_be_asked_is_refused(target: Any) -> None:
    with pytest.raises(InvalidInputError, match="runner: should be"):
        LocalRunner(target)


async def test_a_kits_runner_answers_as_an_object_and_as_an_app() -> None:
    kit = KitRunner([])
    async with LocalRunner(kit) as runner:
        refusal = await answer_of(runner, a_turn())
    assert isinstance(refusal, Defer)
    assert "refuses the request" in str(refusal.reason)
    async with LocalRunner(kit.app) as runner:
        with pytest.raises(RunnerUnavailableError, match="answered 400"):
            await answer_of(runner, a_turn())


async def test_an_app_sees_a_post_with_the_headers_of_a_turn() -> None:
    seen: list[Message] = []

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        seen.append(scope)
        await respond(send, Reply(200, DONE))

    turn = a_turn(idempotency_key="wf_1:1:näme")
    await answer_of(LocalRunner(app, path="/steps/run"), turn)
    (scope,) = seen
    assert (scope["type"], scope["method"], scope["path"]) == ("http", "POST", "/steps/run")
    headers = dict(scope["headers"])
    assert headers[b"content-type"] == b"application/json; charset=utf-8"
    assert headers[b"content-length"] == str(len(turn.body)).encode()
    assert headers[b"idempotency-key"] == b"wf_1:1:n%C3%A4me"


async def test_an_app_whose_turn_is_given_up_hears_a_disconnect_and_may_finish() -> None:
    asked, heard, finished = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "http.request"
        asked.set()
        assert (await receive())["type"] == "http.disconnect"
        heard.set()
        with pytest.raises(OSError, match="gone"):
            await respond(send, Reply(200, DONE))
        finished.set()

    async with LocalRunner(app) as runner:
        turn = asyncio.ensure_future(answer_of(runner, a_turn()))
        await asked.wait()
        turn.cancel()
        with pytest.raises(asyncio.CancelledError):
            await turn
        async with asyncio.timeout(5):
            await heard.wait()
            await finished.wait()


async def test_an_app_that_hears_nothing_is_cancelled_when_the_runner_closes() -> None:
    was_cancelled = asyncio.Event()

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        try:
            await never()
        except asyncio.CancelledError:
            was_cancelled.set()
            raise

    async with LocalRunner(app) as runner:
        with pytest.raises(TurnTimedOutError):
            await answer_of(runner, a_turn(timeout_s=0.05))
        assert not was_cancelled.is_set()
    assert was_cancelled.is_set()


async def test_an_app_may_go_on_after_its_answer_and_its_troubles_then_are_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    may_go_on = asyncio.Event()
    has_logged = asyncio.Event()

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            has_logged.set()

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await respond(send, Reply(200, DONE))
        assert (await receive())["type"] == "http.request"
        assert (await receive())["type"] == "http.disconnect"
        await may_go_on.wait()
        raise RuntimeError("in the background")

    runner = LocalRunner(app)
    assert await answer_of(runner, a_turn()) == Complete()
    watch, logger = Watch(), logging.getLogger("pylon_workflows.runner.local")
    logger.addHandler(watch)
    try:
        may_go_on.set()
        async with asyncio.timeout(5):
            await has_logged.wait()
    finally:
        logger.removeHandler(watch)
    assert "after its turn (ASGI runner for wf_1) the app raised RuntimeError: in the background" in caplog.text
    await runner.close()


async def test_an_app_that_returns_without_an_answer_is_unavailable() -> None:
    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})

    with pytest.raises(RunnerUnavailableError, match="ended without an answer"):
        await answer_of(LocalRunner(app), a_turn())
