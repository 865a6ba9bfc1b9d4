"""What every benchmark needs around it: a runner's process, a folder on a disk, an event loop, an engine."""

import asyncio
import contextlib
import http.client
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import uvloop

from benchmarks.bare_runner import Arrival
from pylon_workflows.definitions import WorkflowDefinition
from pylon_workflows.settings import EngineSettings
from pylon_workflows.workflow_engine import WorkflowEngine

WORKFLOW = "order"
INPUT = {"user": "alice", "items": [{"sku": "A-1", "count": 2}, {"sku": "B-7", "count": 1}], "coupon": None}
FOLDER = Path("build")
"""Where databases lie for the time of a benchmark; the working directory is on a disk, the system's folder may not."""

_LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to run: `is_quick` measures less, `is_tiny` only enough to show that the benchmark works.

    The runner has a core of its own, and this process the others, unless it `is_free`: then the system decides.
    """

    loop: str = "asyncio"
    is_quick: bool = False
    is_tiny: bool = False
    is_free: bool = False

    def pick(self, full: T, quick: T, tiny: T) -> T:
        """The one of three sizes that is asked for."""
        return tiny if self.is_tiny else quick if self.is_quick else full


def run_in(loop: str, main: Coroutine[Any, Any, T]) -> T:
    """Run to the end in a new event loop of that name."""
    with asyncio.Runner(loop_factory=_LOOPS[loop]) as runner:
        return runner.run(main)


@contextlib.contextmanager
def folder_on_disk() -> Iterator[Path]:
    """An empty folder that is removed afterwards."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=FOLDER) as folder:
        yield Path(folder).absolute()


def bare_runner(options: Options) -> contextlib.AbstractContextManager[str]:
    """A runner in a process of its own, on a core of its own; gives its URL, without a path."""
    return runner_process([sys.executable, "-m", "benchmarks.bare_runner"], options)


@contextlib.contextmanager
def runner_process(command: Sequence[str], options: Options) -> Iterator[str]:
    """A runner that prints its URL and ends with its standard input, on a core of its own."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            with contextlib.nullcontext() if options.is_free else _cores_apart(process.pid):
                yield url
        finally:
            process.stdin.close()
            process.terminate()


@contextlib.contextmanager
def _cores_apart(pid: int) -> Iterator[None]:
    """Give another process the last core and this one, with all threads that it starts, the others (Linux only)."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
    if len(cores) < 2:
        yield
        return
    os.sched_setaffinity(pid, cores[-1:])
    os.sched_setaffinity(0, cores[:-1])
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def arrivals(url: str) -> list[Arrival]:
    """When turns have arrived at a bare runner since it was asked last."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    with contextlib.closing(connection):
        connection.request("GET", "/arrivals")
        return [(key, monotonic, unix) for key, monotonic, unix in json.loads(connection.getresponse().read())]


def new_engine(runner: Any, database: Path, **options: Any) -> WorkflowEngine:
    """An engine as it comes: default settings, `synchronous=FULL`, and one workflow.

    The runner is not asked which ones it has: it counts what it is asked.
    """
    engine = WorkflowEngine(runner=runner, database=database, settings=EngineSettings(has_discovery=False), **options)
    engine.register(WorkflowDefinition(WORKFLOW))
    return engine
