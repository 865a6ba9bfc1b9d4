"""The same turns without an engine: N tasks that POST prepared requests and read each answer in full."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta

import aiohttp
from pyreqwest.client import ClientBuilder

from benchmarks.bare_runner import END, STEP
from benchmarks.surroundings import INPUT, WORKFLOW
from pylon_workflows.definitions import WorkflowDefinition
from pylon_workflows.ports import Apply, Turn
from pylon_workflows.testing import engine_in_memory
from runner_protocol.messages import parse_action

Post = Callable[[Turn], Awaitable[None]]

HEADERS = {
    "content-type": "application/json; charset=utf-8",
    "accept": "application/json",
    "accept-encoding": "identity",
}


class _Recorder:
    """A runner in the same process that keeps the turns it was asked."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self.turns: list[Turn] = []

    async def take_turn(self, turn: Turn, apply: Apply) -> None:
        self.turns.append(turn)
        await apply((parse_action(STEP if len(self.turns) <= self._steps else END),))


async def turns_of(steps: int) -> Sequence[Turn]:
    """The requests of one instance of that many steps, as the engine makes them."""
    recorder = _Recorder(steps)
    engine = engine_in_memory(recorder)
    engine.register(WorkflowDefinition(WORKFLOW))
    async with engine:
        await engine.wait(await engine.start(WORKFLOW, INPUT))
    return recorder.turns


@contextlib.asynccontextmanager
async def pyreqwest_posts(url: str) -> AsyncIterator[Post]:
    """pyreqwest with one thread and nothing else that costs time, read in the cheapest way: the body in one call."""
    client = (
        ClientBuilder()
        .runtime_multithreaded(False)  # the other kind has half the throughput here
        .default_headers(HEADERS)
        .no_proxy()
        .follow_redirects(False)
        .referer(False)
        .gzip(False)
        .brotli(False)
        .zstd(False)
        .deflate(False)
        .connect_timeout(timedelta(seconds=10))
        .pool_idle_timeout(timedelta(seconds=4))
        .max_connections(None)
        .build()
    )

    async def post(turn: Turn) -> None:
        request = client.post(url).header("idempotency-key", turn.idempotency_key).body_bytes(turn.body).build()
        response = await request.send()
        await response.bytes()

    async with client:
        yield post


@contextlib.asynccontextmanager
async def aiohttp_posts(url: str) -> AsyncIterator[Post]:
    """aiohttp without a limit of connections."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers=HEADERS, auto_decompress=False) as session:

        async def post(turn: Turn) -> None:
            key = {"idempotency-key": turn.idempotency_key}
            async with session.post(url, data=turn.body, headers=key) as response:
                await response.read()

        yield post


async def post_all(post: Post, turns: Sequence[Turn], *, tasks: int, rounds: int) -> int:
    """Each task POSTs all turns so many times, one after the other; returns how many requests that were."""

    async def one_after_the_other() -> None:
        for _ in range(rounds):
            for turn in turns:
                await post(turn)

    await asyncio.gather(*(one_after_the_other() for _ in range(tasks)))
    return tasks * rounds * len(turns)
