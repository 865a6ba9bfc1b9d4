"""Several runners as one: who is asked about what, and who tells of what."""

import asyncio
from datetime import timedelta

import pytest

from pylon_workflows import HttpRunner, InvalidInputError, RunnerUnavailableError, WorkflowDefinition, WorkflowEngine
from pylon_workflows.ports import Turn
from pylon_workflows.runner.routing import RoutingRunner, parse_route
from pylon_workflows.testing import FakeClock, MemoryStore, ScriptedRunner, engine_in_memory, script, wait_until
from runner_protocol.messages import Complete, Defer, DescribedWorkflow, Description
from runner_protocol.strict_json import encode
from tests.contracts.runner_contract import answer_of


class Named:
    """A runner that answers with its name, and notes when it is entered and left."""

    def __init__(self, name, *workflows):
        self.name = name
        self.log = []
        self.workflows = [DescribedWorkflow(name=name, version=version) for name, version in workflows]

    async def take_turn(self, turn, apply):
        await apply([Complete(output=self.name)])

    async def describe(self):
        return Description(workflows=self.workflows) if self.workflows else None

    async def __aenter__(self):
        self.log.append("entered")
        return self

    async def __aexit__(self, *_):
        self.log.append("left")


def a_turn(workflow, version):
    return Turn(
        instance_id="wf_1",
        workflow=workflow,
        version=version,
        body=encode({}),
        idempotency_key="wf_1:1:0",
        timeout_s=10.0,
    )


@pytest.mark.parametrize(
    ("workflow", "version", "asked"),
    [
        ("orders", "2", "second"),
        ("orders", "1", "orders"),
        ("orders", None, "orders"),
        ("refunds", "2", "default"),
        ("mail@home", None, "default"),
        ("mail@home", "3", "mail"),
        ("orders@2", None, "default"),
    ],
)
async def test_a_turn_goes_to_the_runner_of_the_version_else_of_the_workflow_else_to_the_default(
    workflow, version, asked
):
    routes = {"orders": Named("orders"), "orders@2": Named("second"), "mail@home@3": Named("mail")}
    answer = await answer_of(RoutingRunner(Named("default"), routes), a_turn(workflow, version))
    assert answer == Complete(output=asked)


async def test_where_there_is_no_runner_the_turn_is_deferred():
    runner = RoutingRunner(None, {"orders@2": Named("second")})
    for turn, reason in (
        (a_turn("orders", "1"), "no runner is set for the workflow 'orders', version '1'"),
        (a_turn("refunds", None), "no runner is set for the workflow 'refunds'"),
    ):
        assert await answer_of(runner, turn) == Defer(retry_after=timedelta(seconds=5), reason=reason)


async def test_the_runner_of_an_old_version_that_is_gone_holds_up_no_start_of_the_new_one():
    old = ScriptedRunner(
        lambda _request: RunnerUnavailableError("connection refused"),
        description=Description(workflows=[DescribedWorkflow(name="orders", version="1")]),
    )
    clock, store = FakeClock(), MemoryStore()
    async with engine_in_memory(old, clock=clock, store=store) as engine:
        stuck = [await engine.start("orders") for _ in range(50)]
    new = Named("new runner", ("orders", "2"))
    asked_before = len(old.requests)
    async with engine_in_memory(old, runners={"orders@2": new}, clock=clock, store=store) as engine:
        await wait_until(lambda: len(old.requests) >= asked_before + 50)
        for _ in range(5):
            assert await engine.result(await engine.start("orders"), timeout=5) == "new runner"
        waits = [engine.waiting_for_runner(await engine.get(each)) for each in stuck]
        assert {wait.reason for wait in waits} == {"the runner is unavailable: connection refused"}


async def test_the_default_runner_that_is_gone_is_probed_for_a_workflow_that_it_alone_has():
    down = ScriptedRunner(lambda _request: RunnerUnavailableError("connection refused"))
    engine = engine_in_memory(down, runners={"orders@2": Named("second")}, clock=FakeClock())
    engine.register(WorkflowDefinition("refunds"))
    async with engine:
        for _ in range(50):
            await engine.start("refunds")
        await wait_until(lambda: len(down.requests) >= 3)
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(down.requests) < 10


def test_a_route_is_a_name_or_a_name_and_a_version():
    assert [parse_route(text) for text in ("orders", "orders@2", "a@b@c")] == [
        ("orders", None),
        ("orders", "2"),
        ("a@b", "c"),
    ]


@pytest.mark.parametrize(
    ("route", "named"),
    [("", "''"), ("@2", "the name"), ("orders@", "the version"), ("x" * 129, "128"), (f"orders@{'x' * 129}", "128")],
)
def test_what_is_no_route_is_refused_and_named(route, named):
    with pytest.raises(InvalidInputError, match=f"^runners: .*{named}"):
        WorkflowEngine(runner=None, runners={route: Named("x")}, store=MemoryStore())


@pytest.mark.parametrize("url", ["ftp://somewhere/run", "http://", "127.0.0.1:9876"])
def test_a_url_that_is_none_is_refused_and_its_route_named(url):
    with pytest.raises(InvalidInputError, match=r"^runners: 'orders': runner URL: "):
        WorkflowEngine(runner=None, runners={"orders": url}, store=MemoryStore())


async def test_each_runner_is_entered_once_and_left_with_the_engine():
    default, shared, bare = Named("default"), Named("shared"), ScriptedRunner(script())
    engine = WorkflowEngine(
        runner=default, runners={"a": shared, "b@1": shared, "b": default, "c": bare}, store=MemoryStore()
    )
    async with engine:
        assert (default.log, shared.log) == (["entered"], ["entered"])
    assert (default.log, shared.log) == (["entered", "left"], ["entered", "left"])


async def test_when_one_cannot_be_entered_the_others_are_left_again():
    class Unopenable(Named):
        async def __aenter__(self):
            raise OSError("no such certificate")

    first = Named("first")
    with pytest.raises(OSError, match="no such certificate"):
        async with RoutingRunner(first, {"orders": Unopenable("second")}):
            raise AssertionError("it was entered")
    assert first.log == ["entered", "left"]


async def test_one_url_has_one_runner_however_often_it_is_named(monkeypatch):
    opened = []
    monkeypatch.setattr(HttpRunner, "open", lambda self: _noted(opened, self))
    one, other = "http://127.0.0.1:1/run", "http://127.0.0.1:2/run"
    runners = {"a": one, "b": one, "b@2": other}
    async with WorkflowEngine(runner=one, runners=runners, store=MemoryStore(), settings=None):
        pass
    assert len(opened) == len(set(opened)) == 2


async def _noted(opened, runner):
    opened.append(runner)


class TestWhatTheyTellOf:
    async def test_each_tells_only_of_the_workflows_whose_turns_it_gets(self):
        default = Named("default", ("orders", "1"), ("orders", "2"), ("refunds", "1"), ("mail", None))
        second = Named("second", ("orders", "2"), ("orders", "1"))
        mail = Named("mail", ("mail", None), ("mail", "7"))
        routing = RoutingRunner(default, {"orders@2": second, "mail": mail})
        told = [await describer.describe() for describer in routing.describers]
        assert [[(each.name, each.version) for each in description.workflows] for description in told] == [
            [("orders", "1"), ("refunds", "1")],
            [("orders", "2")],
            [("mail", None), ("mail", "7")],
        ]

    async def test_one_of_version_1_tells_of_nothing_and_one_that_cannot_be_asked_is_not(self):
        class Mute:
            async def take_turn(self, turn, apply):
                raise AssertionError("nobody asks")

        routing = RoutingRunner(Named("old"), {"orders": Mute()})
        assert [await describer.describe() for describer in routing.describers] == [None]

    async def test_a_new_version_beside_the_old_one_is_what_starts_get_and_each_runs_with_its_own_runner(self):
        old, new = Named("old runner", ("orders", "1")), Named("new runner", ("orders", "2"))
        engine = engine_in_memory(old)
        async with engine:
            assert await engine.result(await engine.start("orders")) == "old runner"
        engine = engine_in_memory(old, runners={"orders@2": new})
        async with engine:
            assert await engine.result(await engine.start("orders")) == "new runner"
