"""A small model of published events beside the engine: who gets which event, over waits, ends, restarts and sweeps.

The model is told nothing of matching: it keeps lists, and after each rule gives the oldest event to the oldest wait
that it fits, in the order in which things came. `make test-long` plays it longer.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pylon_workflows import EngineSettings, PublishedStart, Status, WorkflowDefinition, WorkflowEngine
from pylon_workflows.errors import KeptEventsFullError
from pylon_workflows.ports import Store
from pylon_workflows.published import Correlation
from pylon_workflows.store.memory import MemoryStore
from pylon_workflows.store.sqlite import SqliteStore
from pylon_workflows.testing import FakeClock, wait_until
from runner_protocol.messages import Complete, WaitEvent

KEYS = st.sampled_from(["k1", "k2"])
EVENTS = st.sampled_from(["paid", "sent"])
NUMBERS = st.sampled_from([1, 2])
IDS = st.sampled_from([f"wf_{number}" for number in range(4)])
KEPT_FOR = timedelta(seconds=100)
MOST = 3


@dataclass
class Kept:
    order: int
    key: str
    event: str
    number: int
    start: str | None
    until: datetime


@dataclass
class Known:
    """An instance as the model has it: what it waits for since when, and what it was given."""

    wait: tuple[int, str, str, int | None, datetime | None] | None = None
    given: list[int | None] = field(default_factory=list)
    is_over: bool = False


class Publishing(RuleBasedStateMachine):
    """The engine without a runner, and the model."""

    def store(self) -> Store:
        return MemoryStore()

    @initialize()
    def begin(self) -> None:
        self.runner = asyncio.Runner()
        self.clock = FakeClock()
        self.kept_in = self.store()
        self.engine = self.another()
        self.run(self.engine.__aenter__())
        self.instances: dict[str, Known] = {}
        self.kept: list[Kept] = []
        self.ids: dict[tuple[str, str], datetime] = {}
        self.moment = 0

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.run(self.engine.__aexit__(None, None, None))
            self.runner.close()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    def another(self) -> WorkflowEngine:
        terms = EngineSettings(
            shutdown_grace_s=0, keep_published_for=KEPT_FOR, max_kept_events=MOST, retain_finished_for=None
        )
        engine = WorkflowEngine(runner=None, store=self.kept_in, clock=self.clock, settings=terms, jitter=lambda: 1.0)
        engine.register(WorkflowDefinition("order"))
        return engine

    def next_moment(self) -> int:
        self.moment += 1
        self.clock.advance(0.001)
        return self.moment

    def settle(self) -> None:
        async def is_settled() -> bool:
            due = await self.kept_in.due(now=self.clock.now(), limit=1)
            return not due and not self.engine._engine.is_matching

        self.run(wait_until(is_settled))

    # What may happen.

    @rule(id=IDS)
    def start(self, id: str) -> None:
        if id not in self.instances:
            self.run(self.engine.start("order", id=id))
            self.instances[id] = Known()

    @rule(id=IDS, key=KEYS, event=EVENTS, number=st.none() | NUMBERS, length=st.none() | st.sampled_from([0, 5]))
    def wait(self, id: str, key: str, event: str, number: int | None, length: int | None) -> None:
        known = self.instances.get(id)
        if known is None or known.is_over or known.wait is not None:
            return
        at = self.next_moment()
        match = {} if number is None else {"n": number}
        timeout = None if length is None else f"{length}s"
        self.run(self.engine.apply(id, WaitEvent(event=event, correlation=key, match=match, timeout=timeout)))
        until = None if length is None else self.clock.now() + timedelta(seconds=length)
        known.wait = (at, key, event, number, until)
        self.match_wait(id)
        self.time_out()
        self.settle()

    @rule(key=KEYS, event=EVENTS, number=NUMBERS, start=st.none() | IDS, event_id=st.none() | st.sampled_from("ab"),
          source=st.sampled_from(["", "shop"]))  # fmt: skip
    def publish(self, key: str, event: str, number: int, start: str | None, event_id: str | None, source: str) -> None:
        at = self.next_moment()
        terms = None if start is None else PublishedStart("order", id=start)
        is_known = event_id is not None and (source, event_id) in self.ids
        is_full = not is_known and sum((each.key, each.event) == (key, event) for each in self.kept) >= MOST

        async def call() -> bool:
            receipt = await self.engine.publish(
                event, {"n": number, "at": at}, correlation=key, event_id=event_id, source=source, start=terms
            )
            return receipt.is_duplicate

        if is_full:
            with pytest.raises(KeptEventsFullError):
                self.run(call())
            return
        assert self.run(call()) is is_known
        if is_known:
            return
        if event_id is not None:
            self.ids[source, event_id] = self.clock.now() + timedelta(days=7)
        self.kept.append(Kept(at, key, event, number, start, self.clock.now() + KEPT_FOR))
        self.match_event(self.kept[-1])
        self.settle()

    @rule(id=IDS)
    def cancel(self, id: str) -> None:
        known = self.instances.get(id)
        if known is not None and not known.is_over:
            self.run(self.engine.cancel(id))
            known.is_over, known.wait = True, None

    @rule(id=IDS)
    def complete(self, id: str) -> None:
        known = self.instances.get(id)
        if known is not None and not known.is_over and known.wait is None:
            self.run(self.engine.apply(id, Complete()))
            known.is_over = True

    @rule(id=IDS)
    def delete(self, id: str) -> None:
        known = self.instances.get(id)
        if known is not None and known.is_over:
            self.run(self.engine.delete(id))
            del self.instances[id]

    @rule(seconds=st.sampled_from([1, 6, 60, 120, 8 * 24 * 3600]))
    def let_time_pass(self, seconds: int) -> None:
        self.clock.advance(seconds)
        self.time_out()
        self.settle()
        while self.run(self.engine._engine._publishing.sweep()):
            pass
        self.kept = [each for each in self.kept if each.until > self.clock.now()]
        self.ids = {own: until for own, until in self.ids.items() if until > self.clock.now()}

    @rule()
    def restart(self) -> None:
        self.run(self.engine.__aexit__(None, None, None))
        self.engine = self.another()
        self.run(self.engine.__aenter__())
        self.settle()

    # The model.

    def match_event(self, kept: Kept) -> None:
        fitting = [(known.wait, each) for each, known in self.instances.items() if fits(known, kept)]
        if fitting:
            self.give(kept, min(fitting)[1])
        elif kept.start is not None and kept.start not in self.instances:
            self.instances[kept.start] = Known()
            self.kept.remove(kept)
        else:
            kept.start = None

    def match_wait(self, id: str) -> None:
        fitting = [kept for kept in self.kept if fits(self.instances[id], kept)]
        if fitting:
            self.give(fitting[0], id)

    def give(self, kept: Kept, id: str) -> None:
        self.kept.remove(kept)
        self.instances[id].given.append(kept.order)
        self.instances[id].wait = None

    def time_out(self) -> None:
        for known in self.instances.values():
            if known.wait is not None and known.wait[4] is not None and known.wait[4] <= self.clock.now():
                known.given.append(None)
                known.wait = None

    @invariant()
    @precondition(lambda self: hasattr(self, "engine"))
    def every_instance_was_given_what_the_model_says(self) -> None:
        self.settle()
        for each, known in self.instances.items():
            instance = self.run(self.engine.get(each))
            given = [None if record.output is None else record.output["at"] for record in instance.steps]
            assert given == known.given, each
            assert (instance.status is Status.WAITING_FOR_EVENT) == (known.wait is not None), each

    @invariant()
    @precondition(lambda self: hasattr(self, "engine"))
    def what_is_kept_is_what_the_model_keeps(self) -> None:
        for key in ("k1", "k2"):
            for event in ("paid", "sent"):
                found = self.run(self.kept_in.published.kept(Correlation(key, event), limit=99))
                events = [self.run(self.kept_in.published.get(each)) for each in found]
                kept = [each for each in self.kept if (each.key, each.event) == (key, event)]
                assert [each.data_json for each in events] == [
                    b'{"n":%d,"at":%d}' % (each.number, each.order) for each in kept
                ]


def fits(known: Known, kept: Kept) -> bool:
    if known.wait is None:
        return False
    _, key, event, number, _ = known.wait
    return (key, event) == (kept.key, kept.event) and number in (None, kept.number)


class PublishingToAFile(Publishing):
    """The same over a file."""

    def store(self) -> Store:
        self.folder = TemporaryDirectory()
        return SqliteStore(Path(self.folder.name) / "events.db", synchronous="normal")

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "folder"):
            self.folder.cleanup()


TestPublishing = pytest.mark.slow(Publishing.TestCase)
TestPublishing.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestPublishingToAFile = pytest.mark.slow(PublishingToAFile.TestCase)
TestPublishingToAFile.settings = settings(max_examples=20, stateful_step_count=40, deadline=None)


class PublishingAtLength(Publishing):
    """The same for longer."""


TestPublishingAtLength = pytest.mark.long(pytest.mark.timeout(3600)(PublishingAtLength.TestCase))
TestPublishingAtLength.settings = settings(max_examples=5_000, stateful_step_count=80, deadline=None)
