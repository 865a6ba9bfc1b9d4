"""Live updates: what happens comes to who reads, in order and durable, and who was cut off goes on where it stopped."""

import signal
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from listening import reading
from starlette.types import ASGIApp
from still_engine import StillEngine

from pylon_workflows.api import event_stream, live_handlers
from pylon_workflows.api.app import create_app
from pylon_workflows.api.limits import Limits
from pylon_workflows.testing import wait_until
from runner_protocol.messages import Complete, Fail, Sleep, StepComplete

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_handlers, "_QUIET_S", 0.0)
    monkeypatch.setattr(event_stream, "_LOOK_S", 0.01)


async def test_what_has_happened_comes_first_and_then_what_happens(app: ASGIApp, engine: StillEngine) -> None:
    await engine.start_or_find("onboarding", {"n": 1}, id="a")
    async with reading(app, "/a/stream") as reader:
        assert (reader.status, reader.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert (reader.headers["cache-control"], reader.headers["x-accel-buffering"]) == ("no-store", "no")
        assert "content-length" not in reader.headers
        [(number, _, data)] = await reader.read(1)
        assert (number, data["type"], data["input"]) == (1, "instance_started", {"n": 1})
        await engine.apply("a", StepComplete(step_name="charge", output={"é": "\u2028\n"}))
        assert [(number, data["type"]) for number, _, data in (await reader.read(3))[1:]] == [
            (2, "run_started"),
            (3, "step_succeeded"),
        ]
        assert reader.messages[2][2]["output"] == {"é": "\u2028\n"}
        assert not reader.is_over
        await engine.apply("a", Complete(output=7))
        messages = await reader.read(5)
        assert (messages[3][0], messages[3][2]["type"]) == (4, "instance_completed")
        assert messages[4] == (None, "end", {"status": "completed"})
        await reader.until(lambda reader: reader.is_over)


async def test_the_messages_are_those_of_the_history(
    app: ASGIApp, client: httpx.AsyncClient, engine: StillEngine
) -> None:
    await engine.start_or_find("onboarding", id="a")
    for number in range(120):
        await engine.apply("a", StepComplete(step_name=f"s{number}", output=number))
    await engine.apply("a", Fail(error="no", retryable=False))
    history = (await client.get("/a/history")).json()
    async with reading(app, "/a/stream") as reader:
        messages = await reader.read(len(history) + 1)
        assert [data for _, _, data in messages[:-1]] == history
        assert messages[-1][1:] == ("end", {"status": "failed"})


@pytest.mark.parametrize("by", ["header", "parameter"])
async def test_who_says_what_came_last_gets_what_follows(app: ASGIApp, engine: StillEngine, by: str) -> None:
    await engine.start_or_find("onboarding", id="a")
    await engine.apply("a", StepComplete(step_name="one"))
    target, headers = ("/a/stream?after=2", {}) if by == "parameter" else ("/a/stream?after=1", {"last_event_id": "2"})
    async with reading(app, target, **headers) as reader:
        assert [number for number, _, _ in await reader.read(1)] == [3]


async def test_what_many_read_of_one_is_read_from_the_store_once(
    app: ASGIApp, engine: StillEngine, instance_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    ask = engine.next_history

    async def counted(instance_id: str, **options: Any) -> Any:
        asked.append(options["after"])
        return await ask(instance_id, **options)

    monkeypatch.setattr(engine, "next_history", counted)
    async with AsyncExitStack() as stack:
        readers = [await stack.enter_async_context(reading(app, f"/{instance_id}/stream")) for _ in range(20)]
        for number in range(5):
            for reader in readers:
                await reader.read(number + 1)
            await wait_until(lambda: len(engine._engine._updates.ids) == 1)
            await engine.send_event(instance_id, f"e{number}")
        for reader in readers:
            assert [data["event"] for _, _, data in (await reader.read(6))[1:]] == [f"e{n}" for n in range(5)]
        assert len(asked) < 20, "twenty readers of five events"


async def test_after_the_end_of_a_finished_one_there_is_nothing_more_to_ask_for(
    client: httpx.AsyncClient, engine: StillEngine
) -> None:
    await engine.start_or_find("onboarding", id="a")
    await engine.cancel("a")
    assert (await client.get("/a/stream?after=2")).status_code == 204


async def test_who_knows_more_than_there_is_begins_anew(app: ASGIApp, engine: StillEngine) -> None:
    await engine.start_or_find("onboarding", id="a")
    async with reading(app, "/a/stream", last_event_id="99") as reader:
        first, second = await reader.read(2)
        assert (first, second[0], second[2]["type"]) == ((0, "reset", {}), 1, "instance_started")


async def test_nobody_and_nonsense_are_refused_before_the_stream_begins(client: httpx.AsyncClient) -> None:
    assert (await client.get("/nobody/stream")).status_code == 404
    for path in ("/a/stream", "/stream"):
        for cursor in ("x", "-1", "1.5", "٣", "9" * 30):
            refused = await client.get(path, headers={"Last-Event-ID": cursor.encode()})
            assert (refused.status_code, refused.headers["content-type"]) == (400, "application/problem+json"), cursor
    assert (await client.get("/stream?status=nonsense")).json()["code"] == "invalid-input"


async def test_a_head_request_gets_the_head(client: httpx.AsyncClient, instance_id: str) -> None:
    answer = await client.head(f"/{instance_id}/stream")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")


async def test_a_silent_stream_says_that_it_is_alive(
    app: ASGIApp, instance_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_handlers, "HEARTBEAT_S", 0.01)
    for path in (f"/{instance_id}/stream?after=1", "/stream"):
        async with reading(app, path) as reader:
            await reader.until(lambda reader: reader.body.count(b":\n\n") + reader.body.count(b"id: ") > 3)


async def test_one_that_is_deleted_ends_its_stream(
    app: ASGIApp, engine: StillEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_handlers, "HEARTBEAT_S", 0.01)
    await engine.start_or_find("onboarding", id="a")
    async with reading(app, "/a/stream?after=1") as reader:
        await engine.cancel("a")
        await engine.delete("a")
        await reader.until(lambda reader: reader.is_over)


class TestAllInstances:
    async def test_instances_come_as_a_list_shows_them_whenever_they_change(
        self, app: ASGIApp, client: httpx.AsyncClient, engine: StillEngine
    ) -> None:
        await engine.start_or_find("onboarding", id="before")
        async with reading(app, "/stream") as reader:
            [(begin, event, data)] = await reader.read(1)
            assert (event, data) == ("ready", {})
            await engine.start_or_find("onboarding", id="a", tags={"team": "blue"})
            _, (number, event, data) = await reader.read(2)
            assert (event, [data]) == (None, (await client.get("/?tag=team:blue")).json())
            assert number is not None and number > begin
            await engine.apply("before", Sleep(duration="1h"))
            assert (await reader.read(3))[2][2]["status"] == "sleeping"

    async def test_who_was_cut_off_hears_of_everything_that_changed_meanwhile(
        self, app: ASGIApp, engine: StillEngine
    ) -> None:
        async with reading(app, "/stream") as reader:
            await reader.read(1)
            await engine.start_or_find("onboarding", id="a")
            number = (await reader.read(2))[1][0]
        await engine.start_or_find("onboarding", id="b")
        await engine.apply("a", StepComplete(step_name="one"))
        await engine.apply("a", StepComplete(step_name="two"))
        async with reading(app, "/stream", last_event_id=str(number)) as reader:
            messages = await reader.read(3)
            assert messages[0] == (number, "ready", {})
            assert [(data["id"], data["revision"]) for _, _, data in messages[1:]] == [("b", 1), ("a", 4)]
            assert [number is None for number, _, _ in messages] == [False, True, False], "only the last is whole"

    async def test_a_filter_leaves_out_what_does_not_fit(self, app: ASGIApp, engine: StillEngine) -> None:
        async with reading(app, "/stream?status=sleeping&tag=team:blue") as reader:
            await reader.read(1)
            for instance_id, tags in (("a", {"team": "red"}), ("b", {"team": "blue"})):
                await engine.start_or_find("onboarding", id=instance_id, tags=tags)
                await engine.apply(instance_id, Sleep(duration="1h"))
            assert [data["id"] for _, _, data in (await reader.read(2))[1:]] == ["b"]

    async def test_a_number_that_is_yet_to_come_is_told_as_a_reset(self, app: ASGIApp, engine: StillEngine) -> None:
        await engine.start_or_find("onboarding", id="a")
        async with reading(app, "/stream", last_event_id="1000000") as reader:
            [(number, event, _)] = await reader.read(1)
            assert (number, event) == (1, "reset")
            await engine.start_or_find("onboarding", id="b")
            assert (await reader.read(2))[1][2]["id"] == "b"

    async def test_what_many_read_is_read_from_the_store_once(
        self, app: ASGIApp, engine: StillEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = []
        ask = engine.next_changes

        async def counted(**options: Any) -> Any:
            asked.append(options["after"])
            return await ask(**options)

        monkeypatch.setattr(engine, "next_changes", counted)
        async with AsyncExitStack() as stack:
            target = ("/stream", "/stream?name=onboarding")
            readers = [await stack.enter_async_context(reading(app, target[number % 2])) for number in range(20)]
            for reader in readers:
                await reader.read(1)
            asked.clear()
            for number in range(5):
                await engine.start_or_find("onboarding", id=f"a{number}")
                for reader in readers:
                    assert (await reader.read(number + 2))[-1][2]["id"] == f"a{number}"
            assert asked in ([1, 2, 3, 4], [1, 2, 3, 4, 5])  # what follows the last may not have been asked for yet


class TestEnds:
    async def test_there_are_so_many_streams_and_no_more(self, engine: StillEngine, instance_id: str) -> None:
        app = create_app(engine, limits=Limits(max_streams=2))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            async with reading(app, "/stream") as first, reading(app, f"/{instance_id}/stream"):
                assert first.status == 200
                refused = await client.get("/stream")
                assert (refused.status_code, refused.json()["code"]) == (429, "too-many-streams")
                assert refused.headers["retry-after"] == "5"
            async with reading(app, "/stream") as again:
                assert again.status == 200

    async def test_a_reader_that_takes_nothing_is_cut_off(
        self, app: ASGIApp, engine: StillEngine, instance_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(event_stream, "_SEND_TIMEOUT_S", 0.05)
        async with reading(app, f"/{instance_id}/stream") as reader:
            await reader.read(1)
            reader.takes.clear()
            await engine.apply(instance_id, StepComplete(step_name="one"))
            await wait_until(lambda: not engine._engine._updates.is_watched)
            assert not reader.is_over
            reader.takes.set()

    async def test_a_stream_ends_when_the_engine_does(self, app: ASGIApp) -> None:
        engine = StillEngine()
        app = create_app(engine)
        async with engine:
            reader_context = reading(app, "/stream")
            reader = await reader_context.__aenter__()
            await reader.read(1)
        await reader.until(lambda reader: reader.is_over)
        await reader_context.__aexit__(None, None, None)

    async def test_a_stream_ends_when_the_server_is_told_to_stop(
        self, app: ASGIApp, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Server:
            should_exit = False

            def handle_exit(self, *_: Any) -> None: ...

        server = Server()
        monkeypatch.setattr(signal, "getsignal", lambda _: server.handle_exit)
        async with reading(app, "/stream") as reader:
            await reader.read(1)
            server.should_exit = True
            await reader.until(lambda reader: reader.is_over)

    async def test_a_stream_ends_after_an_hour_for_its_reader_to_be_asked_who_it_is(self, engine: StillEngine) -> None:
        async with reading(create_app(engine, limits=Limits(max_stream_s=0.02)), "/stream") as reader:
            await reader.until(lambda reader: reader.is_over)
