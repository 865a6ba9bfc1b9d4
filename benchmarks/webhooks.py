"""From a signed delivery to the step that it resumes, at a steady rate, while very many instances wait.

The waiting instances are started and driven as all are, each with a key of its own. Then a server of its own process
opens the file, and deliveries come to it on time whether or not the ones before them were answered; their time is that
of the POST's beginning until the resumed turn arrives at the runner. Among them come POSTs that the same server answers
without doing anything. What both take is taken from one run, for the machine's speed wanders.
"""

import asyncio
import base64
import contextlib
import hmac
import json
import random
import sys
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from benchmarks.report import Figure, Report, percentile
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

PER_S = 200
BARE_PER_S = 50
WANTED_P99_MS = 50.0
_STARTED_AT_ONCE = 500


class Taken(NamedTuple):
    """Milliseconds; `cpu` is the server's CPU time for a delivery and its part of the bare POSTs."""

    resumed: list[float]
    acknowledged: list[float]
    bare: list[float]
    cpu: float


def run(options: Options) -> Report:
    """Let the instances wait, then deliver."""
    waiting, seconds = options.pick(100_000, 20_000, 200), options.pick(60.0, 20.0, 0.5)
    free = replace(options, is_free=True)  # three processes share the machine
    with bare_runner(free) as runner, folder_on_disk() as folder:
        database = folder / "webhooks.db"
        began = time.perf_counter()
        run_in(options.loop, _let_wait(runner, database, waiting))
        made_in_s = time.perf_counter() - began
        command = [sys.executable, "-m", "benchmarks.webhook_server", str(database), f"{runner}/paid", options.loop]
        with runner_process(command, free) as server:
            taken = run_in(options.loop, _deliver(server, runner, waiting, seconds))
    return Report(
        name="webhooks",
        title=f"from a delivery to the resumed step, {PER_S} a second, {waiting:,} instances waiting",
        loop=options.loop,
        setting={
            "synchronous": "full",
            "deliveries": len(taken.resumed),
            "bare_posts": len(taken.bare),
            "made_in_s": round(made_in_s, 1),
            "runner": "on any core",
        },
        figures=[
            *_figures("delivery to resumed step", taken.resumed, at_most=WANTED_P99_MS),
            *_figures("delivery acknowledged (committed)", taken.acknowledged),
            *_figures("a bare POST to the same server", taken.bare),
            Figure(name="the server's CPU time for a delivery and its turn", value=taken.cpu, unit="ms"),
        ],
    )


def _figures(name: str, values: list[float], *, at_most: float | None = None) -> Iterable[Figure]:
    yield Figure(name=f"{name}, p50", value=percentile(values, 50), unit="ms")
    yield Figure(name=f"{name}, p99", value=percentile(values, 99), unit="ms", at_most=at_most)
    yield Figure(name=f"{name}, longest", value=max(values), unit="ms")


async def _let_wait(runner: str, database: Path, count: int) -> None:
    async with new_engine(f"{runner}/paid", database) as engine:
        for first in range(0, count, _STARTED_AT_ONCE):
            numbers = range(first, min(first + _STARTED_AT_ONCE, count))
            await asyncio.gather(*(engine.start(WORKFLOW, INPUT, id=_id(number)) for number in numbers))
        async with asyncio.timeout(600):
            while await engine.list(limit=1, statuses=["pending", "running"]):  # noqa: ASYNC110 -- now and then
                await asyncio.sleep(0.1)
    await asyncio.to_thread(arrivals, runner)


async def _deliver(server: str, runner: str, waiting: int, seconds: float) -> Taken:
    count = min(round(PER_S * seconds), waiting)
    orders = random.Random(1).sample(range(waiting), count)
    sent: dict[str, int] = {}
    acknowledged: list[float] = []
    bare: list[float] = []
    connections = _Connections(server)

    async def one(order: str) -> None:
        body = json.dumps({"id": order, "order": order, "amount": 4200, "items": INPUT}).encode()
        head = _signed(order, body)
        sent[order] = time.monotonic_ns()
        answer = await connections.post("/hooks/psp", head, body)
        acknowledged.append((time.monotonic_ns() - sent[order]) / 1e6)
        assert answer == b'{"applied":true,"duplicate":false}', answer

    async def one_bare() -> None:
        began = time.monotonic_ns()
        await connections.post("/bare", b"", b'{"order":1}')
        bare.append((time.monotonic_ns() - began) / 1e6)

    async with connections:
        cpu_began = int(await connections.post("/cpu", b"", b""))  # answered as soon as the server is there
        async with asyncio.TaskGroup() as tasks:
            began = time.monotonic()
            for number, order in enumerate(orders):
                await asyncio.sleep(max(0.0, began + number / PER_S - time.monotonic()))
                tasks.create_task(one(_id(order)))
                if number % (PER_S // BARE_PER_S) == 0:
                    tasks.create_task(one_bare())
        resumed = await _resumed(runner, count)
        cpu = (int(await connections.post("/cpu", b"", b"")) - cpu_began) / count / 1e6
    return Taken([(resumed[order] - at) / 1e6 for order, at in sent.items()], acknowledged, bare, cpu)


async def _resumed(runner: str, count: int) -> dict[str, int]:
    """When each instance's second turn arrived, by its id."""
    found: dict[str, int] = {}
    async with asyncio.timeout(60):
        while len(found) < count:
            await asyncio.sleep(0.2)
            for key, monotonic, _ in await asyncio.to_thread(arrivals, runner):
                instance_id, _, position = key.split(":")
                assert position == "1"
                assert instance_id not in found, "it was resumed twice"
                found[instance_id] = monotonic
    return found


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
