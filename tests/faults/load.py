"""A program that drives the real engine under load, until it is killed, and says what it was told.

    python -m tests.faults.load DATABASE [--round N] [--seed N] [--users N] [--starts N] [--sessions N] [--steps FILE]

Each line on the standard output is a JSON array and an acknowledgement (`acknowledgements.py`): it is written when the
awaited call has returned, or when the runner or a callback has been shown a state, which must have been durable by then
(P1, P3). `--steps` is a file in which each step body notes that it began. A new `--round` on a file that was left goes
on with what is in it; with `--finish` that is all, and it ends when every instance has. A call that the store refuses
is said too, and made again; but for a start that a full disk refuses, and for the events of `nag`, which are not.
The runner answers with streams in the odd rounds, and with one step a turn in the others.
"""

import argparse
import asyncio
import itertools
import json
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from datetime import timedelta
from typing import Any

from pylon_workflows.core.instance import FINISHED, Instance, Status
from pylon_workflows.definitions import WorkflowDefinition
from pylon_workflows.errors import ApprovalConflictError, InstanceFinishedError, StorageFullError, StoreError
from pylon_workflows.runner.local import LocalRunner
from pylon_workflows.settings import EngineSettings
from pylon_workflows.store import group_commit
from pylon_workflows.workflow_engine import WorkflowEngine
from runner_protocol import Context, Runner, current_step, workflow
from tests.faults.breakages import BREAKAGES

KINDS = (
    "steps",
    "sleeps",
    "waits",
    "early",
    "published",
    "flaky",
    "deadline",
    "cancelled",
    "groups",
    "family",
    "gates",
)
"""What an instance does; its id begins with it."""

_REFUSED_PAUSE_S = 0.01
_NAG_PAUSE_S = 0.005


def say(*words: Any) -> None:
    """One acknowledgement, at once: a single write, so that a line is whole or absent."""
    os.write(1, json.dumps(words).encode() + b"\n")


class StepLog:
    """The file in which each step body that begins is noted; what was written survives a kill."""

    def __init__(self, path: str | None) -> None:
        self._file = None if path is None else os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self) -> None:
        step = current_step()
        if self._file is not None:
            os.write(self._file, f"{step.workflow_id} {step.key} {step.number}\n".encode())


def runner_for(log: StepLog, *, streams: bool) -> LocalRunner:
    """A real runner whose turns say how many records they were shown; it answers one step a turn, or `streams`."""

    async def work(text: str) -> str:
        log.note()
        await asyncio.sleep(0)
        return text

    async def fail_first() -> int:
        log.note()
        if current_step().number == 1:
            raise ConnectionError("not at the first attempt")
        return current_step().number

    @workflow("load")
    async def load(ctx: Context, given: dict[str, Any]) -> Any:
        seen: list[Any] = [await ctx.step("first", work, given["text"])]
        match given["kind"]:
            case "steps":
                seen += [await ctx.step("work", work, given["text"]) for _ in range(3)]
            case "sleeps":
                await ctx.sleep(0.01)
            case "waits" | "early":
                seen.append(await ctx.wait_for_event("go"))
            case "published":
                seen.append(await ctx.wait_for_event("go", correlation=ctx.workflow_id))
            case "flaky":
                seen.append(await ctx.step("flaky", fail_first))
            case "deadline":
                seen.append(await ctx.wait_for_event("never", timeout=0.01))
            case "groups":
                flaky = {"odd": fail_first, "even": (work, given["text"])}
                seen.append(await ctx.map("spread", list("abcdefgh"), work, max_in_flight=3))
                seen.append(await ctx.parallel("pair", flaky))
            case "family":
                kept = {"id": f"{ctx.workflow_id}-child", "name": "awaited"}
                loose = {"id": f"{ctx.workflow_id}-loose", "wait": False, "on_parent_close": "abandon"}
                await ctx.child("load", {"kind": "steps", "text": "loose"}, **loose)
                seen.append(await ctx.child("load", {"kind": "groups", "text": "child"}, **kept))
            case "gates":
                seen.append((await ctx.approval("gate")).approved)
            case "cancelled":
                await ctx.child("load", {"kind": "nagged", "text": ""}, id=f"{ctx.workflow_id}-child", wait=False)
                await ctx.wait_for_event("never")
            case "nagged":
                await ctx.wait_for_event("never")
        seen.append(await ctx.step("last", work, given["text"]))
        return seen

    kit = Runner([load])

    def asked(body: bytes) -> None:
        request = json.loads(body)
        if "workflow_id" in request:
            say("turn", request["workflow_id"], len(request["completed_steps"]))

    class Streaming:
        async def stream(self, body: bytes) -> AsyncIterator[bytes]:
            asked(body)
            async with aclosing(kit.stream(body)) as lines:
                async for line in lines:
                    yield line

    async def handle(body: bytes) -> tuple[int, bytes]:
        asked(body)
        return await kit.handle(body)

    return LocalRunner(Streaming() if streams else handle)


class Users:
    """Those who call the engine: each starts an instance, does with it what its kind asks for, and starts the next."""

    def __init__(self, engine: WorkflowEngine, chance: random.Random) -> None:
        self._engine = engine
        self._chance = chance

    async def use(self, name: str, starts: int | None) -> None:
        for number in itertools.count() if starts is None else range(starts):
            kind = self._chance.choice(KINDS)
            instance_id = f"{kind}-{name}-{number}"
            given = {"kind": kind, "text": "x" * self._chance.choice((1, 10, 100, 3000))}
            try:
                await self._start(instance_id, given)
            except StorageFullError:  # a start that changed nothing, and that nobody makes again
                say("full", instance_id, "_start")
                await asyncio.sleep(_REFUSED_PAUSE_S)
                continue
            except StoreError:
                await self._insist(self._start, instance_id, given)
            if kind != "early":
                await self._insist(self._look, instance_id)
            await self.see_through(instance_id)

    async def nag(self, name: str, others_are_done: asyncio.Event) -> None:
        """Send one instance events that it does not wait for, so that an acknowledgement is always on its way."""
        instance_id = f"nagged-{name}"
        await self._insist(self._start, instance_id, {"kind": "nagged", "text": ""})
        for number in itertools.count():
            if others_are_done.is_set():
                break
            event_id = f"nag {number}"
            try:
                await self._engine.send_event(instance_id, "nag", number, event_id=event_id)
                say("event", instance_id, event_id)
            except StoreError as error:
                say("full" if isinstance(error, StorageFullError) else "refused", instance_id, event_id)
            await asyncio.sleep(_NAG_PAUSE_S)
        await self.see_through(instance_id)

    async def see_through(self, instance_id: str) -> None:
        """Do what the instance needs in order to finish, and wait for that."""
        match instance_id.partition("-")[0]:
            case "waits" | "early":
                await self._insist(self._send, instance_id)
            case "published":
                await self._insist(self._publish, instance_id)
            case "cancelled" | "nagged":
                await self._insist(self._cancel, instance_id)
            case "gates":
                await self._insist(self._approve, instance_id)
        await self._insist(self._wait, instance_id)

    async def _insist(self, call: Callable[..., Awaitable[None]], instance_id: str, *others: Any) -> None:
        """Make the call until the store takes it. What a full disk has refused has changed nothing, and is said."""
        while True:
            try:
                return await call(instance_id, *others)
            except StoreError as error:
                say("full" if isinstance(error, StorageFullError) else "refused", instance_id, call.__name__)
                await asyncio.sleep(_REFUSED_PAUSE_S)

    async def _start(self, instance_id: str, given: dict[str, Any]) -> None:
        await self._engine.start("load", given, id=instance_id)
        say("start", instance_id)

    async def _look(self, instance_id: str) -> None:
        instance = await self._engine.get(instance_id)
        say("seen", instance_id, instance.revision)

    async def _send(self, instance_id: str) -> None:
        with suppress(InstanceFinishedError):
            await self._engine.send_event(instance_id, "go", {"to": instance_id}, event_id=f"go to {instance_id}")
            say("event", instance_id, f"go to {instance_id}")

    async def _publish(self, instance_id: str) -> None:
        event_id = f"go to {instance_id}"
        await self._engine.publish("go", {"to": instance_id}, correlation=instance_id, event_id=event_id, source="load")
        say("published", instance_id, f"published:load:{event_id}")

    async def _approve(self, instance_id: str) -> None:
        """As soon as the gate is there; one that was decided before a kill is decided again."""
        while not (await self._engine.get(instance_id)).is_finished:
            try:
                await self._engine.approve(instance_id, "approval:gate", by="load")
            except ApprovalConflictError:
                await asyncio.sleep(_NAG_PAUSE_S)
            else:
                say("approved", instance_id)
                break

    async def _cancel(self, instance_id: str) -> None:
        await self._engine.cancel(instance_id)
        say("cancel", instance_id)

    async def _wait(self, instance_id: str) -> None:
        instance = await self._engine.wait(instance_id)
        say("finished", instance_id, instance.status)


async def unfinished(engine: WorkflowEngine) -> list[str]:
    """All instances that an earlier round has left in the middle, the newest first."""
    found: list[str] = []
    statuses = [status for status in Status if status not in FINISHED]
    while page := await engine.list(statuses=statuses, after=found[-1] if found else None):
        found += [summary.id for summary in page]
    return found


async def serve_a_session(options: argparse.Namespace, chance: random.Random, session: int) -> None:
    engine = WorkflowEngine(
        runner=runner_for(StepLog(options.steps), streams=options.round % 2 == 1),
        database=options.database,
        synchronous=options.synchronous,
        settings=EngineSettings(shutdown_grace_s=5.0),
    )
    backoff = timedelta(milliseconds=10)
    engine.register(WorkflowDefinition("load", initial_backoff=backoff, maximum_backoff=backoff))

    @engine.on_finished
    async def announced(instance: Instance) -> None:
        say("announced", instance.id, instance.status)

    say("opening")
    async with engine:
        say("opened")
        users = Users(engine, chance)
        left = await unfinished(engine)
        others_are_done = asyncio.Event()
        if not options.finish:
            nagging = asyncio.create_task(users.nag(f"{options.round}-{session}", others_are_done))
        async with asyncio.TaskGroup() as tasks:
            for instance_id in left:
                tasks.create_task(users.see_through(instance_id))
            for number in range(0 if options.finish else options.users):
                name = f"{options.round}-{session}-{number}"
                tasks.create_task(users.use(name, options.starts))
        others_are_done.set()
        if not options.finish:
            await nagging
        say("closing")


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("database")
    parser.add_argument("--round", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--users", type=int, default=16)
    parser.add_argument("--starts", type=int, help="by each user; without it they go on until the program is killed")
    parser.add_argument("--sessions", type=int, default=1, help="so often the engine is opened and closed")
    parser.add_argument("--steps")
    parser.add_argument("--synchronous", choices=("full", "normal"), default="full")
    parser.add_argument("--checkpoint-pages", type=int, default=100)
    parser.add_argument("--finish", action="store_true")
    parser.add_argument("--breakage", choices=sorted(BREAKAGES), help="a fault of the engine to plant")
    options = parser.parse_args()
    if options.breakage:
        BREAKAGES[options.breakage]()
    group_commit.CHECKPOINT_PAGES = options.checkpoint_pages  # so that checkpoints are among what is cut off
    chance = random.Random(f"{options.seed} {options.round}")
    for session in range(options.sessions):
        await serve_a_session(options, chance, session)
    say("done")


if __name__ == "__main__":
    asyncio.run(main())
