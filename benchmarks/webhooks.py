"""From a signed delivery to the step that it resumes, at a steady rate, while very many instances wait.

The waiting instances are started and driven as all are, each with a key of its own. Then a server of its own process
opens the file, and deliveries come to it on time whether or not the ones before them were answered; their time is that
of the POST's beginning until the resumed turn arrives at the runner. Among them come POSTs that the same server answers
without doing anything. The run is cut into windows, each with percentiles of its own, and the windows in which other
programs used much of the machine are left out, where three quiet ones remain.
"""

import asyncio
import base64
import contextlib
import hmac
import json
import random
import sys
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from benchmarks.machine_load import MachineLoad
from benchmarks.report import Figure, Report, median_figure, percentile
from benchmarks.surroundings import (
    INPUT,
    WORKFLOW,
    Options,
    arrivals,
    bare_runner,
    folder_on_disk,
    new_engine,
    run_in,
    runner_process,
)
from benchmarks.webhook_server import SECRET
from benchmarks.windows import QUIET

PER_S = 200
BARE_PER_S = 50
WANTED_P99_MS = 50.0
_STARTED_AT_ONCE = 500


class Taken(NamedTuple):
    """What one window took, in milliseconds, and which share of the machine others used meanwhile."""

    resumed: list[float]
    acknowledged: list[float]
    bare: list[float]
    others: float


def run(options: Options) -> Report:
    """Let the instances wait, then deliver."""
    waiting = options.pick(100_000, 20_000, 200)
    windows, window_s = options.pick((12, 5.0), (4, 5.0), (1, 0.5))
    free = replace(options, is_free=True)  # three processes share the machine
    with bare_runner(free) as runner, folder_on_disk() as folder:
        database = folder / "webhooks.db"
        began = time.perf_counter()
        run_in(options.loop, _let_wait(runner, database, waiting))
        made_in_s = time.perf_counter() - began
        command = [sys.executable, "-m", "benchmarks.webhook_server", str(database), f"{runner}/paid", options.loop]
        with runner_process(command, free) as server:
            deliveries = _Deliveries(server, runner, waiting)
            taken, cpu_ms = run_in(options.loop, deliveries.measure(windows, window_s))
    quiet = [window for window in taken if window.others <= QUIET]
    used = quiet if len(quiet) >= 3 else taken
    return Report(
        name="webhooks",
        title=f"from a delivery to the resumed step, {PER_S} a second, {waiting:,} instances waiting",
        loop=options.loop,
        setting={
            "synchronous": "full",
            "windows": f"{len(used)} of {len(taken)}, {window_s:g} s each",
            "others_used_in_them": f"{max(window.others for window in used):.0%} at most",
            "made_in_s": round(made_in_s, 1),
        },
        figures=[
            *_figures("delivery to resumed step", [window.resumed for window in used], at_most=WANTED_P99_MS),
            *_figures("delivery acknowledged (committed)", [window.acknowledged for window in used]),
            *_figures("a bare POST to the same server", [window.bare for window in used]),
            Figure(name="the server's CPU time for a delivery and its turn", value=cpu_ms, unit="ms"),
        ],
    )


def _figures(name: str, windows: Sequence[list[float]], *, at_most: float | None = None) -> Iterable[Figure]:
    yield median_figure(f"{name}, p50", [percentile(window, 50) for window in windows], "ms")
    yield median_figure(f"{name}, p99", [percentile(window, 99) for window in windows], "ms", at_most=at_most)


async def _let_wait(runner: str, database: Path, count: int) -> None:
    async with new_engine(f"{runner}/paid", database) as engine:
        for first in range(0, count, _STARTED_AT_ONCE):
            numbers = range(first, min(first + _STARTED_AT_ONCE, count))
            await asyncio.gather(*(engine.start(WORKFLOW, INPUT, id=_id(number)) for number in numbers))
        async with asyncio.timeout(600):
            while await engine.list(limit=1, statuses=["pending", "running"]):  # noqa: ASYNC110 -- now and then
                await asyncio.sleep(0.1)
    await asyncio.to_thread(arrivals, runner)


class _Deliveries:
    """One for each of some of the waiting instances, and bare POSTs among them."""

    def __init__(self, server: str, runner: str, waiting: int) -> None:
        self._connections = _Connections(server)
        self._runner = runner
        self._orders = iter(random.Random(1).sample(range(waiting), waiting))
        self._resumed: dict[str, int] = {}

    async def measure(self, windows: int, window_s: float) -> tuple[list[Taken], float]:
        """The windows, and the server's CPU time for a delivery and its part of the bare POSTs, in milliseconds."""
        async with self._connections as connections:
            cpu_began = int(await connections.post("/cpu", b"", b""))  # answered as soon as the server is there
            taken = [await self._window(round(PER_S * window_s)) for _ in range(windows)]
            cpu_ns = int(await connections.post("/cpu", b"", b"")) - cpu_began
        return taken, cpu_ns / len(self._resumed) / 1e6

    async def _window(self, count: int) -> Taken:
        sent: dict[str, int] = {}
        acknowledged: list[float] = []
        bare: list[float] = []

        async def one(order: str) -> None:
            body = json.dumps({"id": order, "order": order, "amount": 4200, "items": INPUT}).encode()
            head = _signed(order, body)
            sent[order] = time.monotonic_ns()
            answer = await self._connections.post("/hooks/psp", head, body)
            acknowledged.append((time.monotonic_ns() - sent[order]) / 1e6)
            assert answer == b'{"applied":true,"duplicate":false}', answer

        async def one_bare() -> None:
            began = time.monotonic_ns()
            await self._connections.post("/bare", b"", b'{"order":1}')
            bare.append((time.monotonic_ns() - began) / 1e6)

        load = MachineLoad.now()
        async with asyncio.TaskGroup() as tasks:
            began = time.monotonic()
            for number, order in enumerate(islice(self._orders, count)):
                await asyncio.sleep(max(0.0, began + number / PER_S - time.monotonic()))
                tasks.create_task(one(_id(order)))
                if number % (PER_S // BARE_PER_S) == 0:
                    tasks.create_task(one_bare())
        others = MachineLoad.now().others_since(load)
        await self._all_resumed(sent)
        return Taken([(self._resumed[order] - at) / 1e6 for order, at in sent.items()], acknowledged, bare, others)

    async def _all_resumed(self, sent: Iterable[str]) -> None:
        """Return when it is known of each when its second turn arrived at the runner."""
        async with asyncio.timeout(60):
            while not self._resumed.keys() >= set(sent):
                await asyncio.sleep(0.1)
                for key, monotonic, _ in await asyncio.to_thread(arrivals, self._runner):
                    instance_id, _, position = key.split(":")
                    assert position == "1"
                    assert instance_id not in self._resumed, "it was resumed twice"
                    self._resumed[instance_id] = monotonic


class _Connections:
    """Kept alive; each carries one request at a time, and there are as many as that takes."""

    def __init__(self, server: str) -> None:
        self._address = urlsplit(server)
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def __aenter__(self) -> "_Connections":
        return self

    async def __aexit__(self, *_: object) -> None:
        for _, writer in self._idle:
            writer.close()
            await writer.wait_closed()

    async def post(self, path: str, head: bytes, body: bytes) -> bytes:
        """The answer's body."""
        async with self._connection() as (reader, writer):
            start = f"POST {path} HTTP/1.1\r\nhost: {self._address.netloc}\r\ncontent-length: {len(body)}\r\n"
            writer.write(start.encode() + head + b"\r\n" + body)
            answer = (await reader.readuntil(b"\r\n\r\n")).lower()
            assert answer.startswith(b"http/1.1 200 "), answer
            length = answer.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0]
            return await reader.readexactly(int(length))

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        if self._idle:
            connection = self._idle.pop()
        else:
            connection = await asyncio.open_connection(self._address.hostname, self._address.port)
        yield connection
        self._idle.append(connection)


def _signed(delivery: str, body: bytes) -> bytes:
    at = int(time.time())
    digest = hmac.digest(SECRET, f"{delivery}.{at}.".encode() + body, "sha256")
    signature = base64.b64encode(digest).decode()
    return f"webhook-id: {delivery}\r\nwebhook-timestamp: {at}\r\nwebhook-signature: v1,{signature}\r\n".encode()


def _id(number: int) -> str:
    return f"order-{number:06d}"
