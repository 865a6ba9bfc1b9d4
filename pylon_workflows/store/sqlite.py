"""The store in one SQLite file: a thread that writes (`group_commit`, `writes`) and two connections that read."""

import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

from pylon_workflows.core.evolution import begin
from pylon_workflows.core.instance import Instance
from pylon_workflows.core.transitions import Transition
from pylon_workflows.declared_types import check_type
from pylon_workflows.definitions import WorkflowDefinition
from pylon_workflows.errors import CorruptDatabaseError, StoreError
from pylon_workflows.filters import EVERY_INSTANCE, InstanceFilter
from pylon_workflows.ports import MAX_PAGE, HistoryPage, InstanceSummary, PayloadCodec, Write
from pylon_workflows.settings import Synchronous
from pylon_workflows.store import disk, migrations, reads, writes
from pylon_workflows.store.codec import from_microseconds, to_microseconds
from pylon_workflows.store.epoch import Epoch
from pylon_workflows.store.failures import translate
from pylon_workflows.store.file_copies import uri
from pylon_workflows.store.group_commit import GroupCommit
from pylon_workflows.store.rows import (
    appended_rows,
    created_row,
    definition_row,
    definitions_from,
    restored_row,
    summary_from,
)
from pylon_workflows.store.sealed_commits import OPERATIONS, SealedCommits
from pylon_workflows.store.sealing import Seal, take_file
from pylon_workflows.store.sqlite_change_log import SqliteChangeLog
from pylon_workflows.store.sqlite_live_rows import SqliteLiveRows
from pylon_workflows.store.sqlite_outbox import SqliteOutbox
from pylon_workflows.store.sqlite_published import SqlitePublished
from pylon_workflows.store.sqlite_runs import SqliteRuns
from pylon_workflows.store.sqlite_schedules import SqliteSchedules
from pylon_workflows.store.sqlite_secrets import SqliteSecrets
from pylon_workflows.store.sqlite_tokens import SqliteTokens

_log = logging.getLogger(__name__)

_BUSY_TIMEOUT_S = 5.0
_CACHED_STATEMENTS = 64


class SqliteStore:
    """A `Store` in the file at `path`, which is created when there is none.

    With `synchronous="full"` what a call has returned survives a power cut, with "normal" the end of the program (P1,
    P2). With a `codec` the values are encrypted (`sealed_commits`). One store at a time may have a file open:
    `ownership` sees to that.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        synchronous: Synchronous = "full",
        codec: PayloadCodec | None = None,
    ) -> None:
        check_type(synchronous, Synchronous, "synchronous")
        self._path = Path(path).absolute()
        self._synchronous = synchronous
        self._writer: GroupCommit | None = None
        self._seal = None if codec is None else Seal(codec)
        self._histories, self._states, self._lists = (reads.Reader(self._path, self._seal) for _ in range(3))
        self._absurd_due_at: object = None
        self.schedules = SqliteSchedules(lambda: self._open_writer, self._states)
        self.published = SqlitePublished(lambda: self._open_writer, self._states)
        self.tokens = SqliteTokens(lambda: self._open_writer, self._states)
        self.secrets = SqliteSecrets(lambda: self._open_writer, self._states)
        self.runs = SqliteRuns(lambda: self._open_writer, self._histories, self._states)
        self.outbox = SqliteOutbox(lambda: self._open_writer, self._states)
        self.change_log = SqliteChangeLog(self._lists)
        self.live_rows = SqliteLiveRows(self._histories)

    async def open(self) -> None:
        """See `Store`."""
        epoch = Epoch()
        commits = GroupCommit if self._seal is None else partial(SealedCommits, self._seal)
        writer = commits(
            lambda: self._reconnect() if epoch.is_taken else self._connect(),
            tuple(OPERATIONS),
            epoch,
            name=f"pylon-workflows-writer {self._path.name}",
            has_room=lambda: disk.has_room(self._path.parent),
        )
        await writer.open()
        self._writer = writer
        try:
            await self._histories.open()
            await self._states.open()
            await self._lists.open()
        except BaseException as error:
            await self.close()
            if isinstance(error, sqlite3.Error):
                raise translate(error, str(self._path)) from error
            raise

    async def close(self) -> None:
        """See `Store`."""
        await self._histories.close()
        await self._states.close()
        await self._lists.close()
        writer, self._writer = self._writer, None
        if writer is not None:
            await writer.close()

    def check(self) -> None:
        """Look whether writes go on: raises what has stopped them until the store is opened again.

        OwnershipLostError: another engine has the file. CorruptDatabaseError: it is damaged. StorageFailedError: the
        disk failed three times in a row, or the file may only be read.
        """
        if self._writer is not None and self._writer.stopped_by is not None:
            raise translate(self._writer.stopped_by)

    def _connect(self) -> sqlite3.Connection:
        """The connection that writes, to a file that has been checked and is up to date."""
        scripts = migrations.migrations()
        version = migrations.check(self._path, scripts)

        def prepare(connection: sqlite3.Connection) -> None:
            migrations.migrate(connection, self._path, version, scripts)
            take_file(connection, self._path, self._seal)

        return self._connected("mode=rwc", prepare)

    def _reconnect(self) -> sqlite3.Connection:
        """Another one to the same file.

        It is not looked at but through SQLite: any other open and close of a file drops the locks that this process's
        other connections have on it.
        """
        return self._connected("mode=rw", self._open_rows)

    def _open_rows(self, connection: sqlite3.Connection) -> None:
        connection.row_factory = None if self._seal is None else self._seal.opened

    def _connected(self, mode: str, prepare: Callable[[sqlite3.Connection], None]) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(
                uri(self._path, mode),
                uri=True,
                timeout=_BUSY_TIMEOUT_S,
                isolation_level=None,
                cached_statements=_CACHED_STATEMENTS,
            )
        except sqlite3.Error as error:
            raise translate(error, str(self._path)) from error
        try:
            (journal,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            if journal != "wal":
                raise sqlite3.OperationalError("its file system cannot share memory between processes")
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.text_factory = reads.any_text
            prepare(connection)
            connection.executescript(writes.VIEWS)
            self.outbox.prepare(connection)
        except BaseException as error:
            connection.close()
            if isinstance(error, sqlite3.Error):
                raise translate(error, str(self._path)) from error
            raise
        return connection

    @property
    def _open_writer(self) -> GroupCommit:
        if self._writer is None:
            raise StoreError("the database is not open")
        return self._writer

    async def create(self, instance: Instance, *, later: Sequence[Transition] = ()) -> str | None:
        """See `Store`."""
        taken_by: str | None
        if later:
            rows = appended_rows(instance, later, is_to_announce=False, is_whole=True)
            whole = (created_row(begin(instance.origin)), rows)
            taken_by = await self._open_writer.submit(writes.create_whole, whole, rows=len(rows))
        else:
            taken_by = await self._open_writer.submit(writes.create, created_row(instance))
        return taken_by

    def append(
        self,
        instance: Instance,
        transitions: Sequence[Transition],
        *,
        is_to_announce: bool = False,
        starts: Sequence[Instance] = (),
    ) -> Write[str | None]:
        """See `Store`."""
        rows = appended_rows(instance, transitions, is_to_announce=is_to_announce)
        if starts:
            created = [created_row(new) for new in starts]
            return self._open_writer.submit(writes.append_with_starts, (created, rows), rows=len(rows) + len(created))
        return self._open_writer.submit(writes.append, rows, rows=len(rows))

    async def park(self, instance_id: str, reason: str) -> None:
        """See `Store`."""
        await self._open_writer.submit(writes.park, (instance_id, reason))

    async def restore(self, instance: Instance) -> None:
        """See `Store`."""
        await self._open_writer.submit(writes.restore, restored_row(instance))

    def suspects(self) -> AsyncIterator[str]:
        """See `Store`."""
        return reads.suspects(self._histories)

    async def histories(self, instance_ids: Sequence[str]) -> Mapping[str, Sequence[Transition] | CorruptDatabaseError]:
        """See `Store`."""
        return await reads.histories(self._histories, instance_ids)

    async def history_page(self, instance_id: str, *, after: int, limit: int) -> HistoryPage | None:
        """See `Store`."""
        return await reads.history_page(self._histories, instance_id, after=after, limit=limit)

    async def summary(self, instance_id: str) -> InstanceSummary | None:
        """See `Store`."""
        rows = await self._states.rows(reads.SUMMARY_OF, (instance_id,))
        return summary_from(rows[0]) if rows else None

    async def list(
        self, where: InstanceFilter = EVERY_INSTANCE, *, after: str | None = None, limit: int = MAX_PAGE
    ) -> Sequence[InstanceSummary]:
        """See `Store`."""
        return await reads.list_page(self._lists, where, after=after, limit=limit)

    async def runnable_names(self) -> Sequence[str]:
        """See `Store`."""
        return await self._states.ids(reads.RUNNABLE_NAMES)

    async def runnable(self, name: str, *, after: str | None = None, limit: int) -> Sequence[str]:
        """See `Store`."""
        return await self._states.ids(*reads.runnable_statement(name, after=after, limit=limit))

    async def due(self, *, now: datetime, limit: int) -> Sequence[str]:
        """See `Store`."""
        return await self._states.ids(reads.DUE, (to_microseconds(now), limit))

    async def next_due(self, *, after: datetime) -> datetime | None:
        """See `Store`."""
        ((due_at,),) = await self._states.rows(reads.NEXT_DUE, (to_microseconds(after),))
        try:
            return None if due_at is None else from_microseconds(due_at)
        except (OverflowError, TypeError):  # the smallest one: there is no other
            if due_at != self._absurd_due_at:
                _log.error(
                    "%s holds an instance that is due at no time, and will not be woken: %.40r", self._path, due_at
                )
                self._absurd_due_at = due_at
            return None

    async def unannounced(self, *, limit: int) -> Sequence[str]:
        """See `Store`."""
        return await self._states.ids(reads.UNANNOUNCED, (limit,))

    async def mark_announced(self, instance_ids: Sequence[str]) -> None:
        """See `Store`."""
        await self._open_writer.submit(writes.mark_announced, list(instance_ids), rows=len(instance_ids))

    async def delete(self, instance_ids: Sequence[str]) -> int:
        """See `Store`."""
        deleted: int = await self._open_writer.submit(writes.delete, list(instance_ids), rows=len(instance_ids))
        return deleted

    async def expired(self, *, completed_before: datetime | None, keep: int | None, limit: int) -> Sequence[str]:
        """See `Store`."""
        expired: list[str] = []
        if completed_before is not None:
            expired = await self._states.ids(reads.COMPLETED_BEFORE, (to_microseconds(completed_before), limit))
        if keep is not None:
            beyond = await self._states.ids(reads.BEYOND_NEWEST, (keep, limit))
            expired = max(expired, beyond, key=len)  # both begin with the oldest: the longer one holds the other
        return expired

    async def save_definition(self, definition: WorkflowDefinition) -> None:
        """See `Store`."""
        await self._open_writer.submit(writes.save_definition, definition_row(definition))

    async def definitions(self) -> Sequence[WorkflowDefinition]:
        """See `Store`."""
        definitions, unreadable = definitions_from(await self._states.rows(reads.DEFINITIONS))
        for sentence in unreadable:
            _log.error("in %s: %s; save it anew: until then the engine goes on without it", self._path, sentence)
        return definitions
