"""The one connection that writes, and what becomes of it when the disk does not do what it should.

Each batch is one transaction. An answer is given when it is certain: after an I/O error the connection is opened anew
and the file is asked whether the transaction is in it (PROMISES.md P25, docs/decisions/0015-certain-commits.md).
"""

import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeGuard

from pylon_workflows.errors import StorageFailedError, StorageFullError, StoreError, WorkflowError
from pylon_workflows.store.batches import Operation, Outcome, Work, do_batch
from pylon_workflows.store.checkpoints import Checkpoints
from pylon_workflows.store.failures import error_name, is_final, is_full, is_io_error, translate
from pylon_workflows.store.log_file import write_again

IO_PAUSES_S = (0.1, 1.0)
"""After each I/O error in a row but the last, which stops the writing."""

CALM_S = 5.0
"""Trouble is over when no write has failed for so long: on a full disk small ones succeed now and then."""

_log = logging.getLogger("pylon_workflows.store")


class Fence(Protocol):
    """Keeps a former owner from committing, and tells one committed state of the file from the next."""

    def take(self, connection: sqlite3.Connection) -> None:
        """Become the owner, once, on the first connection."""
        ...

    def mark(self, connection: sqlite3.Connection) -> Any:
        """What tells the present committed state from the one before. Raises OwnershipLostError."""
        ...

    def seal(self, connection: sqlite3.Connection, committed: Any) -> Any:
        """The mark of a transaction that is about to commit, made unlike `committed`. Raises OwnershipLostError."""
        ...


class WriteConnection:
    """Everything is called on one thread. `has_room` tells a full disk from one that fails."""

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        operations: Sequence[Operation],
        fence: Fence,
        *,
        has_room: Callable[[], bool],
    ) -> None:
        self._connect = connect
        self._operations = tuple(operations)
        self._fence = fence
        self._has_room = has_room
        self._connection: sqlite3.Connection | None = None
        self._committed: Any = None
        self._checkpoints = Checkpoints()
        self._is_log_in_doubt = False
        self._io_errors = 0
        self._trouble: str | None = None
        self._refused = 0
        self._failed_at = 0.0
        self.stopped_by: WorkflowError | None = None

    def open(self) -> None:
        """Connect, and become the owner. Raises StoreError."""
        self._connection = self._connect()
        try:
            self._fence.take(self._connection)
            self._committed = self._fence.mark(self._connection)
            write_again(self._connection)  # the program before may have died of a sync that failed
        except sqlite3.Error as error:
            self._disconnect()
            raise translate(error) from error

    def close(self) -> None:
        """Checkpoint, unless writing has stopped, and disconnect."""
        if self._may_checkpoint(connection := self._connection):
            self._checkpoints.finish(connection)
        self._disconnect()

    def checkpoint(self) -> None:
        """Move what was committed into the file, as far as readers let it."""
        if self._may_checkpoint(connection := self._connection):
            self._checkpoints.run(connection)

    def commit(self, batch: Sequence[Work]) -> list[Outcome]:
        """Do everything in one transaction; what is wrong with an item is its own, what is with the file everybody's.

        After `stopped_by` has been set, everything is refused.
        """
        if self.stopped_by is not None:
            return _refused(batch, self.stopped_by)
        try:
            outcomes = self._commit_with_certainty(batch)
        except Exception as error:
            self._has_failed(error, len(batch))
            return _refused(batch, error)
        if self._trouble is not None and time.monotonic() - self._failed_at >= CALM_S:
            _log.info("writes work again; %d were refused in the meantime", self._refused)
            self._trouble = None
        return outcomes

    def _commit_with_certainty(self, batch: Sequence[Work]) -> list[Outcome]:
        while True:
            sealed: Any = None
            outcomes: list[Outcome] = []
            try:
                connection = self._connected()
                self._make_log_certain(connection)
                outcomes = do_batch(connection, self._operations, batch)
                sealed = self._fence.seal(connection, self._committed)
                connection.execute("COMMIT")
            except Exception as error:
                self._abandon(error)
                if not is_io_error(error):  # it was rolled back, SQLITE_FULL too
                    raise
                has_room = not is_full(error) and self._has_room()
                if self._is_committed(sealed, error, has_room=has_room):
                    return outcomes
                if not has_room:
                    raise StorageFullError("the database cannot be written: the disk is full") from error
            else:
                self._committed = sealed
                self._io_errors = 0
                return outcomes

    def _is_committed(self, sealed: Any, error: BaseException, *, has_room: bool) -> bool:
        """Whether the transaction of that mark, None for one that had none yet, is in the file and durable after all.

        Raises:
            StorageFailedError: the third I/O error in a row. StoreError: it cannot be told.
        """
        was_in_doubt = self._is_log_in_doubt
        self._is_log_in_doubt = was_in_doubt or sealed is not None
        try:
            connection = self._reopened(error, has_room=has_room)
            if sealed is None or self._committed != sealed:
                self._is_log_in_doubt = was_in_doubt
                return False
            self._make_log_certain(connection)
            self._io_errors = 0
        except Exception as trouble:
            self._abandon(trouble)
            if sealed is None or is_final(trouble):
                raise
            raise StoreError(
                f"after an I/O error ({error_name(error)}) it cannot be told whether this was stored ({trouble}): look "
                "at the instance before asking again"
            ) from trouble
        return True

    def _make_log_certain(self, connection: sqlite3.Connection) -> None:
        """Nobody is answered while the log may have a gap on the disk, in front of what is added to it."""
        if self._is_log_in_doubt:
            write_again(connection)
            self._is_log_in_doubt = False

    def _reopened(self, error: BaseException, *, has_room: bool) -> sqlite3.Connection:
        while True:
            if has_room:
                self._count(error)
            try:
                return self._connected()
            except Exception as another:
                self._disconnect()
                if not is_io_error(another) or is_full(another) or not has_room:
                    raise
                error = another

    def _count(self, error: BaseException) -> None:
        self._io_errors += 1
        _log.error("I/O error %d in a row at the database: %s (%s)", self._io_errors, error, error_name(error))
        if self._io_errors > len(IO_PAUSES_S):
            raise StorageFailedError(
                f"the disk of the database failed {self._io_errors} times in a row ({error_name(error)}), and nothing "
                "more is written: see the system's log, mend the disk, and start again"
            ) from error
        time.sleep(IO_PAUSES_S[self._io_errors - 1])

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = self._connect()
            self._committed = self._fence.mark(self._connection)
        return self._connection

    def _abandon(self, error: BaseException) -> None:
        """Leave no transaction open, and drop a connection that may not be trusted."""
        try:
            if self._connection is not None and self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._disconnect()
        if is_io_error(error):
            self._disconnect()

    def _has_failed(self, error: BaseException, writes: int) -> None:
        """Tell each kind of trouble once, when it begins; stop for good when going on would do harm."""
        self._failed_at = time.monotonic()
        self._refused = writes if self._trouble is None else self._refused + writes
        if is_final(error):
            self.stopped_by = translate(error)
            _log.error("writing has stopped, %d writes were refused: %s", writes, self.stopped_by)
            self._disconnect()
            return
        kind = error_name(error) or type(error).__name__
        if kind != self._trouble:
            self._trouble = kind
            _log.warning("writes fail, those that follow are tried each in turn: %s", translate(error))
            if is_full(error):
                self.checkpoint()  # it makes room in the log

    def _may_checkpoint(self, connection: sqlite3.Connection | None) -> TypeGuard[sqlite3.Connection]:
        """Not once the file is another's: a checkpoint beside its writer could lose what that one commits."""
        if connection is None or self.stopped_by is not None:
            return False
        try:
            self._fence.mark(connection)
        except (StoreError, sqlite3.Error) as error:
            self._has_failed(error, 0)
            return False
        return True

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except sqlite3.Error as error:
                _log.warning("closing the database failed: %s", error)


def _refused(batch: Sequence[Work], error: BaseException) -> list[Outcome]:
    """An error of his own for each caller: raising one adds to it."""
    return [Outcome(work.caller, error=translate(error)) for work in batch]
