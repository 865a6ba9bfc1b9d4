"""For every test: when it is over, nothing of ours is left pending."""

import asyncio
import inspect
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import Phase, settings

settings.register_profile("as_found", phases=(Phase.explicit, Phase.generate))
"""For who wants to know whether a test fails, and not by which smallest example: `tests/faults/test_mutants.py`."""

_OPEN_FILES = Path("/proc/self/fd")
_ENDS_WITHIN_S = 30.0
"""A thread that is ending has, by then, on any machine."""

LONGEST_FIRST = (
    "test_engine_machine.py",
    "test_stories.py",
    "test_decider_machine.py",
    "test_wrong_runners.py",
    "test_packages.py",
    "test_failover.py",
    "test_every_helper.py",
    "test_kill_engine.py",
    "test_family_machine.py",
)
"""Files of slow tests, by how long they take: workers that take files in this order end at about the same time."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; `tools/check.py` has the workers take the files in that order."""
    ranks = {name: rank for rank, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: ranks.get(item.path.name, len(ranks)))


@pytest.fixture(autouse=True)
def nothing_is_left_pending(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a task, a thread or an open database behind."""
    threads, databases = set(threading.enumerate()), _open_databases()
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        request.getfixturevalue("no_task_is_left_pending")
    yield
    left = [thread for thread in threading.enumerate() if thread not in threads and not _is_asyncios(thread)]
    ends_at = time.monotonic() + _ENDS_WITHIN_S
    for thread in left:
        thread.join(timeout=max(0.0, ends_at - time.monotonic()))
    assert not [thread.name for thread in left if thread.is_alive()], "the test left threads running"
    assert not _open_databases() - databases, "the test left databases open"


@pytest.fixture
async def no_task_is_left_pending() -> AsyncIterator[None]:
    """Fail a test that leaves a task running in its event loop."""
    own = asyncio.all_tasks()
    yield
    own.add(asyncio.current_task())
    for _ in range(3):  # what has been cancelled may still have to hear of it
        await asyncio.sleep(0)
    left = asyncio.all_tasks() - own
    assert not [task.get_coro() for task in left], "the test left tasks running"


def _is_asyncios(thread: threading.Thread) -> bool:
    return thread.name.startswith("asyncio_")


def _open_databases() -> set[str]:
    if sys.platform != "linux":
        return set()
    opened = set()
    for descriptor in _OPEN_FILES.iterdir():
        try:
            target = str(descriptor.readlink())
        except OSError:  # closed since
            continue
        if target.partition(" ")[0].endswith((".db", "-wal", "-shm", ".db.lock")):
            opened.add(f"{descriptor.name} {target}")
    return opened
