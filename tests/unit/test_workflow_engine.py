"""The engine as users build it: what it is by default; whose runner is opened and closed, and when."""

from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
from pydantic import AnyHttpUrl

from pylon_workflows import (
    HttpRunner,
    InvalidInputError,
    LocalRunner,
    OutboundWebhook,
    UnknownWorkflowError,
    WorkflowDefinition,
    WorkflowEngine,
)
from pylon_workflows.ports import Apply, Turn
from pylon_workflows.store.memory import MemoryStore
from pylon_workflows.testing import ScriptedRunner, engine_in_memory, script
from runner_protocol.messages import Complete


class NotedRunner:
    """A runner that notes when it is entered and left."""

    def __init__(self) -> None:
        self.log: list[str] = []

    async def __aenter__(self) -> "NotedRunner":
        self.log.append("opened")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.log.append("closed")

    async def take_turn(self, turn: Turn, apply: Apply) -> None:
        self.log.append("asked")
        await apply([Complete()])


class UnopenableStore(MemoryStore):
    """A store that does not open."""

    async def open(self) -> None:
        raise OSError("no such disk")


async def never_asked(body: bytes) -> tuple[int, bytes]:
    raise AssertionError("nothing was started")


def test_an_engine_that_is_told_nothing_syncs_each_commit(tmp_path, monkeypatch: pytest.MonkeyPatch):
    """P1 is what everybody gets; P2, which loses an end at a power cut, only who asks for it."""
    monkeypatch.chdir(tmp_path)
    with closing(WorkflowEngine()._engine._store._connect()) as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


async def test_a_runner_that_is_passed_as_an_object_is_open_for_as_long_as_the_engine_is_and_again_the_next_time():
    runner = NotedRunner()
    engine = engine_in_memory(runner)
    assert runner.log == []
    async with engine:
        assert runner.log == ["opened"]
    assert runner.log == ["opened", "closed"]
    async with engine:
        pass
    assert runner.log == ["opened", "closed"] * 2


async def test_a_runner_is_closed_when_the_store_does_not_open():
    runner = NotedRunner()
    with pytest.raises(OSError, match="no such disk"):
        async with engine_in_memory(runner, store=UnopenableStore()):
            raise AssertionError("it has opened")
    assert runner.log == ["opened", "closed"]


async def test_an_http_runner_and_a_local_runner_need_no_opening_by_their_user(monkeypatch: pytest.MonkeyPatch):
    log: list[str] = []
    for kind in (HttpRunner, LocalRunner):
        for call in ("open", "close"):
            original = getattr(kind, call)

            async def noted(self, original=original, told=f"{kind.__name__}.{call}"):
                log.append(told)
                await original(self)

            monkeypatch.setattr(kind, call, noted)
    for runner in (HttpRunner("http://127.0.0.1:1/run"), LocalRunner(never_asked)):
        async with WorkflowEngine(runner=runner, store=MemoryStore()):
            pass
    assert log == ["HttpRunner.open", "HttpRunner.close", "LocalRunner.open", "LocalRunner.close"]


A_RUNNER = "must be a URL as a text, such as str\\(url\\), or an object with take_turn, such as LocalRunner\\(...\\)"
A_URL = AnyHttpUrl("http://127.0.0.1:9876/run")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"runner": A_URL}, f"runner: {A_RUNNER}, or None, not AnyHttpUrl$"),
        ({"runner": 9876}, f"runner: {A_RUNNER}, or None, not int$"),
        ({"runner": b"http://127.0.0.1:9876/run"}, f"runner: {A_RUNNER}, or None, not bytes$"),
        ({"runner": LocalRunner}, f"runner: {A_RUNNER}, or None, not the class LocalRunner$"),
        ({"runners": {"order": 5}}, f"runners: 'order': {A_RUNNER}, not int$"),
        ({"runners": {"order@2": A_URL}}, f"runners: 'order@2': {A_RUNNER}, not AnyHttpUrl$"),
        ({"runners": {"order": None}}, f"runners: 'order': {A_RUNNER}, not NoneType$"),
        ({"runners": {5: "http://127.0.0.1:9876/run"}}, "runners: a key: must be a text, not 5$"),
        ({"runners": ["http://127.0.0.1:9876/run"]}, "runners: must be a mapping, not list$"),
        ({"runners": []}, "runners: must be a mapping, not list$"),
    ],
)
def test_what_is_no_runner_is_refused_where_it_is_given_with_what_to_give(options: dict[str, Any], sentence: str):
    with pytest.raises(InvalidInputError, match=f"^{sentence}"):
        WorkflowEngine(**{"runner": None, "store": MemoryStore(), **options})


A_WEBHOOK = OutboundWebhook(url="https://x.test", secrets=["whsec_" + "QUFB" * 8])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"settings": {"max_in_flight": 3}}, "settings: must be an EngineSettings or None, not dict$"),
        ({"runner_auth": "s3cret"}, "runner_auth: must be a RunnerAuth or None, not str$"),
        ({"webhooks": "https://x.test"}, r"webhooks: must be a list, such as \[OutboundWebhook\(...\)\], not str$"),
        ({"webhooks": A_WEBHOOK}, r"webhooks: must be a list, such as .*, not OutboundWebhook$"),
        ({"webhooks": [A_WEBHOOK, "https://x.test"]}, "webhooks: number 2: must be an OutboundWebhook, not str$"),
        ({"database": None}, "database: must be a text or a path, not None$"),
        ({"database": b"orders.db"}, "database: must be a text or a path, not bytes$"),
    ],
)
def test_an_argument_of_another_type_is_refused_where_it_is_given(options: dict[str, Any], sentence: str):
    with pytest.raises(InvalidInputError, match=f"^{sentence}"):
        WorkflowEngine(**{"runner": None, **options})


def test_what_is_no_function_is_not_called_with_what_has_finished():
    with pytest.raises(InvalidInputError, match=r"^callback: must be a function, not None"):
        WorkflowEngine(runner=None, store=MemoryStore()).on_finished(None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda engine: engine.result("o", timeout="1s"),
            "timeout: must be a timedelta or a number of seconds or None",
        ),
        (lambda engine: engine.wait("o", True), "timeout: must be .*, not True"),
        (lambda engine: engine.wait("o", float("nan")), "timeout: must be .*, not nan"),
        (lambda engine: engine.history("o", after="1"), "after: must be a whole number, not '1'"),
        (lambda engine: engine.history("o", limit="1"), "limit: must be a whole number, not '1'"),
        (lambda engine: engine.next_history("o", after=0, timeout_s="1"), "timeout_s: must be a number of seconds"),
        (lambda engine: engine.next_changes(after="1", timeout_s=1), "after: must be a whole number or None, not '1'"),
        (lambda engine: engine.next_changes(after=None, timeout_s=None), "timeout_s: must be a number of seconds"),
        (lambda engine: engine.start(None), "name: must be a text, not None"),
    ],
)
async def test_a_calls_argument_of_another_type_is_refused_by_its_name(call: Any, sentence: str):
    async with engine_in_memory(None) as engine:
        engine.register(WorkflowDefinition("order"))
        await engine.start("order", id="o")
        with pytest.raises(InvalidInputError, match=f"^{sentence}"):
            await call(engine)


async def test_a_time_is_waited_for_as_a_length_of_time_as_a_number_and_without_end():
    async with engine_in_memory(NotedRunner()) as engine:
        engine.register(WorkflowDefinition("order"))
        for timeout in (None, 10, 10.0, float("inf"), timedelta(seconds=10)):
            assert (await engine.wait(await engine.start("order"), timeout)).is_finished


def test_a_url_that_is_no_text_is_refused_by_the_runner_too():
    with pytest.raises(InvalidInputError, match="runner URL: must be a text, not AnyHttpUrl"):
        HttpRunner(A_URL)  # type: ignore[arg-type]


async def test_a_runner_with_nothing_to_open_is_taken_as_it_is():
    async with engine_in_memory(ScriptedRunner(script())) as engine:
        with pytest.raises(UnknownWorkflowError):
            await engine.start("nothing")
