"""SqliteStore beside MemoryStore: whatever is done to both, they answer alike, also after a restart."""

import asyncio
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, multiple, rule

from pylon_workflows.core.instance import Instance, Status
from pylon_workflows.core.transitions import InstanceBlocked, InstanceResumed, WokeUp
from pylon_workflows.filters import InstanceFilter
from pylon_workflows.store.memory import MemoryStore
from pylon_workflows.store.sqlite import SqliteStore
from runner_protocol.strict_json import encode
from tests.contracts.store_contract import (
    RUN_STARTED,
    after,
    at,
    completed,
    new_instance,
    sleeping,
    succeeded,
)

IDS = st.sampled_from([f"wf_{number}" for number in range(6)])
KEYS = st.none() | st.sampled_from(["k1", "k2"])
SECONDS = st.integers(0, 20)
LIMITS = st.integers(1, 8)
TAGS = st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(["1", "é'"]), max_size=2)


class Stores(RuleBasedStateMachine):
    """Both stores, and the instances as the engine would hold them."""

    live = Bundle("live")

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.memory = MemoryStore()
        self.sqlite = SqliteStore(Path(self.folder.name) / "model.db", synchronous="normal")
        self.run(self.memory.open())
        self.run(self.sqlite.open())

    def teardown(self) -> None:
        self.run(self.sqlite.close())
        self.runner.close()
        self.folder.cleanup()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    def both(self, call: str, *args: Any, **options: Any) -> Any:
        expected = self.run(getattr(self.memory, call)(*args, **options))
        found = self.run(getattr(self.sqlite, call)(*args, **options))
        assert found == expected
        return found

    @rule(
        target=live,
        id=IDS,
        key=KEYS,
        name=st.sampled_from("ab"),
        second=SECONDS,
        due=st.none() | SECONDS,
        parent=st.none() | IDS,
        tags=TAGS,
    )
    def create(
        self, id: str, key: str | None, name: str, second: int, due: int | None, parent: str | None, tags: Any
    ) -> Any:
        options = {"due_at": None if due is None else at(due), "parent_id": parent, "tags_json": encode(tags)}
        instance = new_instance(id, idempotency_key=key, name=name, at=at(second), **options)
        return multiple() if self.both("create", instance) else instance

    @rule(target=live, instance=consumes(live), data=st.data())
    def append(self, instance: Instance, data: st.DataObject) -> Any:
        if instance.is_finished:
            return multiple()
        kinds = {
            "succeed": [succeeded(instance.current_step)],
            "sleep": [sleeping(data.draw(SECONDS), instance.current_step)],
            "wake": [WokeUp(at=at(1))],
            "block": [InstanceBlocked(at=at(1), reason="why")],
            "resume": [InstanceResumed(at=at(1))],
            "finish": [succeeded(instance.current_step), completed(data.draw(SECONDS))],
        }
        transitions = kinds[data.draw(st.sampled_from(sorted(kinds)))]
        if instance.revision == 1:
            transitions = [RUN_STARTED, *transitions]
        moved = after(instance, *transitions)
        is_to_announce = moved.is_finished and data.draw(st.booleans())

        async def write() -> None:
            await self.memory.append(moved, transitions, is_to_announce=is_to_announce)
            await self.sqlite.append(moved, transitions, is_to_announce=is_to_announce)

        self.run(write())
        return moved

    @rule(ids=st.lists(IDS, max_size=3))
    def delete(self, ids: list[str]) -> None:
        self.both("delete", ids)

    @rule(ids=st.lists(IDS, max_size=3))
    def mark_announced(self, ids: list[str]) -> None:
        self.both("mark_announced", ids)

    @rule()
    def reopen(self) -> None:
        self.run(self.sqlite.close())
        self.run(self.sqlite.open())

    @rule(ids=st.lists(IDS))
    def read_histories(self, ids: list[str]) -> None:
        self.both("histories", ids)

    @rule(
        statuses=st.lists(st.sampled_from(Status), max_size=3),
        name=st.none() | st.sampled_from("ab"),
        times=st.tuples(st.none() | SECONDS, st.none() | SECONDS),
        parent=st.none() | IDS,
        tags=TAGS,
        page_after=st.none() | IDS,
        limit=LIMITS,
    )
    def read_lists(
        self,
        statuses: list[Status],
        name: str | None,
        times: tuple[int | None, int | None],
        parent: str | None,
        tags: Any,
        page_after: str | None,
        limit: int,
    ) -> None:
        first, end = (None if second is None else at(second) for second in times)
        where = InstanceFilter(
            statuses=statuses, name=name, started_after=first, started_before=end, parent_id=parent, tags=tags
        )
        self.both("list", where, after=page_after, limit=limit)
        self.both("runnable_names")
        self.both("runnable", name or "a", after=page_after, limit=limit)
        self.both("unannounced", limit=limit)

    @rule(second=SECONDS, limit=LIMITS)
    def read_times(self, second: int, limit: int) -> None:
        self.both("due", now=at(second), limit=limit)
        self.both("next_due", after=at(second))

    @rule(before=st.none() | SECONDS, keep=st.none() | st.integers(0, 4), limit=LIMITS)
    def read_expired(self, before: int | None, keep: int | None, limit: int) -> None:
        self.both("expired", completed_before=None if before is None else at(before), keep=keep, limit=limit)


TestStores = Stores.TestCase
TestStores.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
