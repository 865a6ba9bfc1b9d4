"""One thread owns the connection that writes; whatever is handed in while it commits is committed together next.

It knows nothing of workflows. Work is an item of an `Operation`: a function that does many items in as few statements
as it can. The items of one operation keep the order in which they were handed in; the operations of one batch run in
the order in which they were declared.
"""

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any

from pylon_workflows.errors import StoreError, WorkflowError
from pylon_workflows.ports import Write
from pylon_workflows.store.batches import Operation, Outcome, Work
from pylon_workflows.store.write_connection import Fence, WriteConnection

MAX_BATCH_ROWS = 512
IDLE_S = 1.0
CHECKPOINT_PAGES = 2_000
PAGES_A_COMMIT = 6

CROWD = 4
PAUSE_EACH_S = 0.000_03
LONGEST_PAUSE_S = 0.001
CROWD_REMEMBERED = 0.8
"""A commit costs about as much time of the processor as ten rows, and two threads fight for the interpreter's lock. So
when CROWD writers or more wait at a time, batches begin at least PAUSE_EACH_S for each of them apart."""

logger = logging.getLogger("pylon_workflows.store")


class GroupCommit:
    """The writer of one database file, from `open` to `close`, once.

    `connect` opens the connection, in autocommit mode, on the writer's thread; after an I/O error it is called again.
    `operations` are all there are, in the order in which they run within a batch. `fence` and `has_room`: see
    `WriteConnection`.
    """

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        operations: Sequence[Operation],
        fence: Fence,
        *,
        name: str,
        has_room: Callable[[], bool] = lambda: True,
    ) -> None:
        self._file = WriteConnection(connect, operations, fence, has_room=has_room)
        self._ranks = {operation: rank for rank, operation in enumerate(operations)}
        self._queue: SimpleQueue[list[Work] | None] = SimpleQueue()
        self._gathered: list[Work] = []
        self._flush: asyncio.Handle | None = None
        self._flushed_at = 0.0
        self._unanswered = 1  # the opening
        self._crowd = 0.0
        self._pages = 0
        self._is_open = False
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name=name)

    @property
    def stopped_by(self) -> WorkflowError | None:
        """Why nothing is written any more, whoever asks: the file is damaged or another's, or the disk has failed."""
        return self._file.stopped_by

    async def open(self) -> None:
        """Start the thread and connect; raises what `connect` raises, StoreError."""
        self._thread.start()
        try:
            await self._opened
        except BaseException:
            await self.close()
            raise
        self._is_open = True

    async def close(self) -> None:
        """Commit what was handed in, checkpoint, and end the thread."""
        self._is_open = False
        self._hand_over()
        self._queue.put(None)
        await asyncio.shield(self._closed)
        self._thread.join()

    def submit(self, operation: Operation, item: Any, *, rows: int = 1) -> Write[Any]:
        """Queue an item that writes about so many rows; awaiting gives its result once that is durable.

        Raises StoreError when the writer is not open.
        """
        if not self._is_open:
            raise StoreError("the database is not open")
        future: Write[Any] = Write(loop=self._loop)
        self._gathered.append(Work(self._ranks[operation], item, rows, future))
        self._unanswered += 1
        if self._flush is None:
            pause_s = self._pause_s()
            if pause_s > 0:
                self._flush = self._loop.call_later(pause_s, self._hand_over)
            else:
                self._flush = self._loop.call_soon(self._hand_over)
        return future

    def _pause_s(self) -> float:
        """How long to gather before the next batch: a lone caller waits for nothing, a crowd shares its commits."""
        if self._crowd < CROWD:
            return 0.0
        return self._flushed_at + min(PAUSE_EACH_S * self._crowd, LONGEST_PAUSE_S) - self._loop.time()

    def _hand_over(self) -> None:
        """Give what was gathered to the thread."""
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        self._flushed_at = self._loop.time()
        self._crowd = max(self._unanswered, self._crowd * CROWD_REMEMBERED)
        gathered, self._gathered = self._gathered, []
        batch: list[Work] = []
        rows = 0
        for work in gathered:
            batch.append(work)
            rows += work.rows
            if rows >= MAX_BATCH_ROWS:
                self._queue.put(batch)
                batch, rows = [], 0
        if batch:
            self._queue.put(batch)

    def _run(self) -> None:
        try:
            self._file.open()
            self._tell([Outcome(self._opened)])
            while batch := self._next_batch():
                self._tell(self._commit(batch))
                if self._pages >= CHECKPOINT_PAGES:
                    self._checkpoint()
        except Exception as error:
            self._tell([Outcome(self._opened, error=error)])
        finally:
            self._file.close()
            self._tell([Outcome(self._closed)])

    def _commit(self, batch: list[Work]) -> list[Outcome]:
        return self._file.commit(batch)

    def _checkpoint(self) -> None:
        self._pages = 0
        self._file.checkpoint()

    def _next_batch(self) -> list[Work]:
        """What is waiting, up to the cap, in the order of operations; waits for the first. Nothing is the end."""
        while True:
            try:
                work = self._queue.get(timeout=IDLE_S)
            except Empty:
                if not threading.main_thread().is_alive():
                    return []  # the program ended without closing: waiting on would hang it
                if self._pages:
                    self._checkpoint()
            else:
                break
        batch: list[Work] = []
        rows = 0
        while work is not None:
            batch += work
            rows += sum(each.rows for each in work)
            if rows >= MAX_BATCH_ROWS:
                break
            try:
                work = self._queue.get_nowait()
            except Empty:
                break
        else:
            self._queue.put(None)  # the end is not for this batch, but for the next
            if not batch:
                return batch
        batch.sort(key=lambda each: each.rank)
        self._pages += PAGES_A_COMMIT + rows
        return batch

    def _tell(self, outcomes: list[Outcome]) -> None:
        try:
            self._loop.call_soon_threadsafe(self._resolve, outcomes)
        except RuntimeError:  # the loop is closed: nobody waits any more
            logger.debug("%d writes ended after their event loop", len(outcomes))

    def _resolve(self, outcomes: list[Outcome]) -> None:
        self._unanswered -= len(outcomes)
        for future, result, error in outcomes:
            if future.done():
                continue  # the opening, whose caller was cancelled
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
