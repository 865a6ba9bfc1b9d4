"""What surrounds the engine in the state machine: a loop, a store and a runner that do nothing unless told to."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from inspect import isasyncgen, isawaitable
from typing import Any, Self

from pylon_workflows.errors import RunnerError, StorageFullError, StoreError
from pylon_workflows.ports import Apply, Store, Turn, Write
from runner_protocol.messages import Action, Fail, TurnRequest, parse_request


class CountingLoop(asyncio.SelectorEventLoop):
    """A loop that counts what is asked of it, so that a test knows when nothing is left to do."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def call_soon(self, *args: Any, **options: Any) -> asyncio.Handle:
        self.calls += 1
        return super().call_soon(*args, **options)


class StoppedParts(logging.Handler):
    """What the log says of parts of an engine that have stopped with an error and are started again."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:  # no trouble of the store's, which these tests make
            self.told.append(self.format(record))

    def __enter__(self) -> Self:
        logging.getLogger("pylon_workflows.tasks").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("pylon_workflows.tasks").removeHandler(self)


class CountedStore:
    """A store of one job beside the instances (schedules, published events...): never held back, but counted."""

    def __init__(self, inner: Any, counted: Callable[[Any], Any]) -> None:
        self._inner = inner
        self._counted = counted

    def __getattr__(self, name: str) -> Any:
        return self._counted(getattr(self._inner, name))


class HeldStore:
    """A store that may hold writes back: then they land, fail, land and fail all the same, or die with the engine."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.is_held = False
        self.is_dead = False
        self.held: list[tuple[str, Write[Any], Callable[[], Awaitable[Any]]]] = []
        self._landing: asyncio.Future[None] | None = None
        self.busy = 0
        self.is_idle = asyncio.Event()

    async def open(self) -> None:
        await self.inner.open()

    async def close(self) -> None:
        if not self.is_dead:
            await self.inner.close()

    def create(self, instance: Any) -> Awaitable[Any]:
        return self._write(instance.id, lambda: self.inner.create(instance))

    def append(self, instance: Any, transitions: Any, **options: Any) -> Write[str | None]:
        return self._write(instance.id, lambda: self.inner.append(instance, transitions, **options))

    def delete(self, instance_ids: Any) -> Awaitable[Any]:
        return self._write(instance_ids[0], lambda: self.inner.delete(instance_ids))

    def mark_announced(self, instance_ids: Any) -> Awaitable[Any]:
        return self._write("", lambda: self.inner.mark_announced(instance_ids))

    def _write(self, instance_id: str, write: Callable[[], Awaitable[Any]]) -> Write[Any]:
        self._check_alive()
        done: Write[Any] = Write(loop=asyncio.get_running_loop())
        if self.is_held:
            self.held.append((instance_id, done, write))
        else:
            self._landing = asyncio.ensure_future(self._land(done, write))
        return done

    async def _land(
        self, done: Write[Any], write: Callable[[], Awaitable[Any]], trouble: StoreError | None = None
    ) -> None:
        self._begins()
        try:
            result = await write()
        except StoreError as error:
            done.set_exception(error)
        else:
            if trouble is None:
                done.set_result(result)
            else:
                done.set_exception(trouble)
        finally:
            self._ends()

    async def release(self, how: str) -> None:
        """Let what is held land, or fail with a full disk, or land with an error of which nobody knows what it left."""
        self.is_held, held = False, self.held
        self.held = []
        for _, done, write in held:
            if how == "full":
                done.set_exception(StorageFullError("the disk is full"))
            else:
                await self._land(done, write, StoreError("disk I/O error") if how == "doubtful" else None)

    async def die(self, landed: int) -> None:
        """From now on nothing reaches the store; so many of the writes that are held have."""
        self.is_dead = True
        for number, (_, done, write) in enumerate(self.held):
            if number < landed:
                await write()
            done.set_exception(StoreError("killed"))
            done.exception()
        self.held = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        return self._counted(found) if callable(found) else CountedStore(found, self._counted)

    def _counted(self, method: Callable[..., Any]) -> Callable[..., Any]:
        async def answer(read: Awaitable[Any]) -> Any:
            self._begins()
            try:
                return await read
            finally:
                self._ends()

        async def walk(rows: AsyncGenerator[Any, None]) -> AsyncIterator[Any]:
            async with aclosing(rows) as found:
                with suppress(StopAsyncIteration):
                    while True:
                        yield await answer(found.__anext__())

        def call(*args: Any, **options: Any) -> Any:
            self._check_alive()
            read = method(*args, **options)
            if isasyncgen(read):
                return walk(read)
            return answer(read) if isawaitable(read) else read

        return call

    def _check_alive(self) -> None:
        if self.is_dead:
            raise asyncio.CancelledError("killed")

    def _begins(self) -> None:
        self.busy += 1
        self.is_idle.clear()

    def _ends(self) -> None:
        self.busy -= 1
        if not self.busy:
            self.is_idle.set()


Said = tuple[Sequence[Action] | RunnerError, bool]
"""Actions of an answer, or how it fails; and whether that is the end of it."""


class Question:
    """A turn that the runner has been asked and has not answered."""

    def __init__(self, turn: Turn, request: TurnRequest) -> None:
        self.turn = turn
        self.request = request
        self.said: asyncio.Queue[Said] = asyncio.Queue()
        self.parting_word: Action | None = None
        self.has_spoken = self.has_failed = False


class AskedRunner:
    """Answers when it is told to. One that has a parting word answers even as it is given up."""

    def __init__(self) -> None:
        self.open: dict[str, Question] = {}
        self.faults: list[str] = []

    async def take_turn(self, turn: Turn, apply: Apply) -> None:
        question = Question(turn, parse_request(turn.body))
        if turn.instance_id in self.open:
            self.faults.append(f"{turn.instance_id}: two turns in flight")
        self.open[turn.instance_id] = question
        is_last, is_wanted = False, True
        try:
            while is_wanted and not is_last:
                said, is_last = await self._heard(question)
                if is_last:
                    self._close(question)
                if isinstance(said, RunnerError):
                    raise said
                is_wanted = await apply(said)
        finally:
            self._close(question)

    async def _heard(self, question: Question) -> "Said":
        try:
            return await question.said.get()
        except asyncio.CancelledError:
            if question.parting_word is None:
                raise
            return (question.parting_word,), True

    def _close(self, question: Question) -> None:
        if self.open.get(question.turn.instance_id) is question:
            del self.open[question.turn.instance_id]

    def say(self, instance_id: str, actions: Sequence[Action]) -> None:
        """Say some of the answer, and leave the rest for later."""
        question = self.open[instance_id]
        question.has_spoken = True
        question.has_failed |= any(isinstance(action, Fail) for action in actions)
        question.said.put_nowait((tuple(actions), False))

    def give(self, instance_id: str, answer: Action | Sequence[Action] | RunnerError) -> None:
        """Answer the open turn. The same answer may come after the turn has been given up."""
        question = self.open[instance_id]
        if isinstance(answer, RunnerError):
            question.said.put_nowait((answer, True))
        else:
            question.said.put_nowait((answer if isinstance(answer, Sequence) else (answer,), True))


async def settle(loop: CountingLoop, store: HeldStore) -> None:
    """Let everything that can go on without time passing go on."""
    while True:
        if store.busy:
            await store.is_idle.wait()
        calls = loop.calls
        await asyncio.sleep(0)
        if loop.calls - calls <= 1 and not store.busy:
            return
