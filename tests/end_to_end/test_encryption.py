"""A file with a codec holds nothing in clear that users put into workflows; without it, it says what is missing."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from examples.encryption.fernet_codec import FernetCodec
from pylon_workflows import (
    EngineSettings,
    LocalRunner,
    OutboundWebhook,
    PublishedStart,
    StoreError,
    WorkflowDefinition,
    WorkflowEngine,
    WrongCodecError,
)
from pylon_workflows.core.instance import Status
from pylon_workflows.notices import Notice, UnreadableNotice
from pylon_workflows.ports import PayloadCodec
from pylon_workflows.store.file_reads import SqliteFileReads
from pylon_workflows.testing import wait_for_status
from runner_protocol import Runner, workflow

OLD, NEW = Fernet.generate_key(), Fernet.generate_key()
CANARY = "canary4711"
HIDDEN = (
    "input", "output", "inbox", "event", "var", "note", "failure", "comment", "child", "returned", "kept",
    "started", "ticked", "carried",
)  # fmt: skip


def canary(where: str) -> str:
    return f"{CANARY}-{where}-ünïcode"


@workflow("order")
async def order(ctx: Any, input: Any) -> Any:
    ctx.set(card=canary("var"))
    ctx.log.info(canary("note"))

    async def charge() -> Any:
        return {"receipt": canary("output")}

    await ctx.step("charge", charge)
    await ctx.child("parcel", {"to": canary("child")})
    await ctx.approval("boss")
    paid = await ctx.wait_for_event("paid")
    if paid["fails"]:
        raise ValueError(canary("failure"))
    return canary("returned")


@workflow("parcel")
async def parcel(ctx: Any, input: Any) -> Any:
    return input


@workflow("counter")
async def counter(ctx: Any, input: Any) -> Any:
    if input.get("again"):
        ctx.continue_as_new({"carried": canary("carried")})
    await ctx.wait_for_event("never", correlation="counter:1")


@workflow("refused")
async def refused(ctx: Any, input: Any) -> Any:
    raise ValueError(canary("failure"))


RUNNER = Runner([order, parcel, counter, refused])


@asynccontextmanager
async def an_engine(path: Path, codec: PayloadCodec | None, **options: Any) -> AsyncIterator[WorkflowEngine]:
    engine = WorkflowEngine(
        webhooks=[OutboundWebhook(url="http://127.0.0.1:1/nobody", secrets=["whsec_" + "Q0FO" * 8])],
        runner=options.pop("runner", LocalRunner(RUNNER)),
        database=path,
        codec=codec,
        settings=EngineSettings(hooks_url="https://app.example/hooks", has_discovery=False),
    )
    for name in ("order", "parcel", "counter", "refused"):
        engine.register(WorkflowDefinition(name, max_retries=0))
    async with engine:
        yield engine


async def fill(engine: WorkflowEngine) -> None:
    for name, fails in (("good", False), ("bad", True)):
        await engine.start("order", {"card": canary("input")}, id=name)
        await wait_for_status(engine, name, Status.AWAITING_APPROVAL)
        await engine.send_event(name, "other", {"unread": canary("inbox")})
        await engine.approve(name, "approval:boss", comment=canary("comment"))
        await wait_for_status(engine, name, Status.WAITING_FOR_EVENT)
        await engine.send_event(name, "paid", {"fails": fails, "by": canary("event")})
        await wait_for_status(engine, name, Status.FAILED if fails else Status.COMPLETED)
    await engine.start("counter", {"again": True}, id="counter")
    await wait_for_status(engine, "counter", Status.WAITING_FOR_EVENT)
    await engine.publish("paid", {"by": canary("kept")}, correlation="order:7")
    start = PublishedStart("counter", {"note": canary("started")}, id="started")
    await engine.publish("begun", {"by": canary("kept")}, correlation="order:8", start=start)
    await engine.schedule("0 0 1 1 *", "counter", {"note": canary("ticked")}, id="yearly")
    await wait_for_status(engine, "started", Status.WAITING_FOR_EVENT)


def found_in(path: Path) -> set[str]:
    content = b"".join(each.read_bytes() for each in path.parent.glob(f"{path.name}*") if each.suffix != ".sock")
    return {where for where in HIDDEN if canary(where)[:-8].encode() in content}


def size_of_log(path: Path) -> int:
    return Path(f"{path}-wal").stat().st_size


async def test_no_canary_is_in_the_file_nor_in_its_log(tmp_path: Path) -> None:
    path = tmp_path / "orders.db"
    async with an_engine(path, FernetCodec([OLD])) as engine:
        await fill(engine)
        assert size_of_log(path) > 0
        assert found_in(path) == set()
        good, bad = await engine.get("good"), await engine.get("bad")
        assert (good.output, canary("failure") in (bad.error or "")) == (canary("returned"), True)
        [listed] = [each for each in await engine.list(name="order") if each.id == "bad"]
        assert listed.error == bad.error
        outbox = engine._engine._store.outbox
        later = engine._engine._clock.now() + timedelta(hours=1)
        [receiver] = await outbox.receivers()
        assert bad.error in [notice.error for notice in await outbox.due(receiver, now=later, limit=10)]
    assert CANARY.encode() not in path.read_bytes()
    async with an_engine(path, FernetCodec([OLD])) as engine:
        assert (await engine.get("good")) == good
        [schedule] = await engine.schedules()
        assert canary("ticked") in schedule.input_json.decode()
        await engine.send_event("counter", "never", {})


async def test_without_a_codec_the_canaries_would_be_found(tmp_path: Path) -> None:
    path = tmp_path / "orders.db"
    async with an_engine(path, None) as engine:
        await fill(engine)
        assert found_in(path) == set(HIDDEN)


@pytest.mark.parametrize("codec", [None, FernetCodec([NEW])], ids=["none", "another key"])
async def test_who_has_not_the_codec_is_told_and_changes_nothing(tmp_path: Path, codec: PayloadCodec | None) -> None:
    path = tmp_path / "orders.db"
    async with an_engine(path, FernetCodec([OLD])) as engine:
        await engine.start("counter", id="counter")
        await wait_for_status(engine, "counter", Status.WAITING_FOR_EVENT)
        standby = SqliteFileReads(path, codec=codec)
        with pytest.raises(WrongCodecError, match="encrypted"):
            await standby.open()
    before = path.read_bytes()
    with pytest.raises(WrongCodecError, match="the database is encrypted"):
        async with an_engine(path, codec):
            pass
    assert path.read_bytes() == before
    async with an_engine(path, FernetCodec([OLD])) as engine:
        assert (await engine.get("counter")).status is Status.WAITING_FOR_EVENT


async def test_a_standby_with_the_codec_reads_what_is_encrypted(tmp_path: Path) -> None:
    path = tmp_path / "orders.db"
    async with an_engine(path, FernetCodec([OLD])) as engine:
        await engine.start("order", {"card": 1}, id="order")
        await wait_for_status(engine, "order", Status.AWAITING_APPROVAL)
        standby = SqliteFileReads(path, codec=FernetCodec([OLD]))
        await standby.open()
        try:
            assert await standby.histories(["order"]) == {"order": list(await engine.history("order"))}
            assert await standby.secret("hooks") is None or len(await standby.secret("hooks") or b"") == 32
        finally:
            await standby.close()


async def test_a_key_is_changed_and_the_old_one_goes_when_nothing_needs_it(tmp_path: Path) -> None:
    path = tmp_path / "orders.db"
    async with an_engine(path, FernetCodec([OLD])) as engine:
        url = await _a_secret(engine)
        await engine.schedule("0 0 1 1 *", "counter", {"note": 1}, id="yearly")
        await engine.start("parcel", {"n": 1}, id="first")
        await engine.wait("first")
    async with an_engine(path, FernetCodec([NEW, OLD])) as engine:
        await engine.start("parcel", {"n": 2}, id="second")
        await engine.wait("second")
    with pytest.raises(WrongCodecError, match="the key of its oldest rows"):
        async with an_engine(path, FernetCodec([NEW])):
            pass
    async with an_engine(path, FernetCodec([NEW, OLD])) as engine:
        assert (await engine.get("first")).output == {"n": 1}
        await engine.delete("first")
    async with an_engine(path, FernetCodec([NEW])) as engine:
        assert (await engine.get("second")).output == {"n": 2}
        assert await _a_secret(engine) == url
        assert [each.input_json for each in await engine.schedules()] == [b'{"note":1}']


async def _a_secret(engine: WorkflowEngine) -> bytes | None:
    return await engine._engine._store.secrets.get("hooks")


async def test_a_file_that_was_plain_is_encrypted_from_then_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "orders.db"
    async with an_engine(path, None) as engine:
        await engine.start("counter", {"old": 1}, id="old")
        await wait_for_status(engine, "old", Status.WAITING_FOR_EVENT)
    with caplog.at_level(logging.WARNING):
        async with an_engine(path, FernetCodec([OLD])) as engine:
            await engine.start("parcel", {"card": canary("input")}, id="new")
            await engine.wait("new")
            assert (await engine.get("old")).status is Status.WAITING_FOR_EVENT
    assert "is encrypted from now on; what was written before stays as it is" in caplog.text
    assert CANARY.encode() not in path.read_bytes()


async def test_what_a_lost_key_has_sealed_is_parked_and_goes_on_when_the_key_is_back(tmp_path: Path) -> None:
    path = tmp_path / "orders.db"
    async with an_engine(path, None) as engine:
        await engine.start("counter", id="plain")
        await wait_for_status(engine, "plain", Status.WAITING_FOR_EVENT)
    async with an_engine(path, FernetCodec([OLD])) as engine:
        await engine.start("counter", {"n": 1}, id="old")
        await wait_for_status(engine, "old", Status.WAITING_FOR_EVENT)
    async with an_engine(path, FernetCodec([NEW, OLD])):
        pass
    async with an_engine(path, FernetCodec([NEW])) as engine:
        parked = await engine.get("old")
        assert parked.status is Status.BLOCKED
        assert "encrypted with a codec, or a key, that this program has not" in (parked.blocked_reason or "")
        with pytest.raises(StoreError):
            await engine.send_event("old", "never", {})
        assert (await engine.get("plain")).status is Status.WAITING_FOR_EVENT
    async with an_engine(path, FernetCodec([NEW, OLD])) as engine:
        await wait_for_status(engine, "old", Status.WAITING_FOR_EVENT)


async def the_notice(engine: WorkflowEngine) -> Notice | UnreadableNotice:
    outbox = engine._engine._store.outbox
    [receiver] = await outbox.receivers()
    [found] = await outbox.due(receiver, now=engine._engine._clock.now() + timedelta(hours=1), limit=10)
    return found


async def test_a_webhook_that_a_lost_key_has_sealed_is_kept_until_the_key_is_back(tmp_path: Path) -> None:
    path = tmp_path / "orders.db"
    async with an_engine(path, FernetCodec([OLD])) as engine:
        await engine.start("refused", id="bad")
        await engine.wait("bad")
        first = await the_notice(engine)
        assert isinstance(first, Notice)
        assert canary("failure") in (first.error or "")
        await engine.delete("bad")  # or an engine with another key alone would not start
    async with an_engine(path, FernetCodec([NEW, OLD])):
        pass
    said = "about 'bad' cannot be read: error is encrypted with a key that the codec has not"
    for _ in range(2):
        async with an_engine(path, FernetCodec([NEW])) as engine:
            found = await the_notice(engine)
            assert isinstance(found, UnreadableNotice)
            assert said in found.reason
    async with an_engine(path, FernetCodec([NEW, OLD])) as engine:
        found = await the_notice(engine)
        assert isinstance(found, Notice)
        assert (found.message_id, found.error) == (first.message_id, first.error)


class Failing:
    is_failing = False

    def encode(self, data: bytes) -> bytes:
        if self.is_failing:
            raise TimeoutError("no key")
        return data[::-1]

    def decode(self, data: bytes) -> bytes:
        return data[::-1]


async def test_a_codec_that_fails_fails_the_write_and_no_other(tmp_path: Path) -> None:
    codec = Failing()
    async with an_engine(tmp_path / "orders.db", codec) as engine:
        codec.is_failing = True
        with pytest.raises(StoreError, match="the codec failed, and nothing was stored: TimeoutError: no key"):
            await engine.start("parcel", {"n": 1}, id="one")
        codec.is_failing = False
        await engine.start("parcel", {"n": 1}, id="one")
        assert (await engine.wait("one")).output == {"n": 1}


class Lossy:
    def encode(self, data: bytes) -> bytes:
        return data[:3]

    def decode(self, data: bytes) -> bytes:
        return data


async def test_a_codec_that_loses_something_is_found_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(WrongCodecError, match="decodes something else than it has encoded"):
        async with an_engine(tmp_path / "orders.db", Lossy()):
            pass
