"""What a standby reads of the file that another process writes: over connections that cannot write."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from pylon_workflows.core.transitions import Transition
from pylon_workflows.definitions import WorkflowDefinition
from pylon_workflows.errors import CorruptDatabaseError, NewerDatabaseError, StoreError
from pylon_workflows.filters import EVERY_INSTANCE, InstanceFilter
from pylon_workflows.ports import MAX_PAGE, HistoryPage, InstanceSummary, PayloadCodec
from pylon_workflows.schedule import Schedule
from pylon_workflows.store import migrations, reads, schedule_rows, token_rows
from pylon_workflows.store.rows import definitions_from, summary_from
from pylon_workflows.store.schedule_rows import schedules_from
from pylon_workflows.store.sealing import CHECK_OF, Seal, check_opened
from pylon_workflows.store.sqlite_change_log import SqliteChangeLog
from pylon_workflows.store.sqlite_published import SqlitePublished
from pylon_workflows.store.sqlite_secrets import read_secret
from pylon_workflows.tokens import Token

_ENDED = """
SELECT value FROM json_each(?)
WHERE NOT EXISTS (SELECT 1 FROM instances WHERE id = value AND completed_at IS NULL)
"""

_REVISIONS = "SELECT id, revision FROM instances WHERE id IN (SELECT value FROM json_each(?))"


def _no_writer() -> NoReturn:
    raise StoreError("this process does not write")


def _not_ready(path: Path, version: int, known: int) -> str:
    if version == 0:
        return f"{path} is not ready: its owner is making it"
    return (
        f"{path} is of an older release (schema {version}, this release's is {known}): its owner is bringing it up to "
        "date; or is of that release itself and never will: stop it, and this process takes over"
    )


class SqliteFileReads:
    """Implements `ownership.standby.FileReads` on the file at `path`.

    Never opens the file but through SQLite: any other open and close of it would drop the locks by which SQLite's
    connections of this process keep others from taking its log away.
    """

    def __init__(self, path: str | Path, *, codec: PayloadCodec | None = None) -> None:
        self._path = Path(path).absolute()
        self._seal = None if codec is None else Seal(codec)
        self._histories, self._states, self._lists = (reads.Reader(self._path, self._seal) for _ in range(3))
        self.change_log = SqliteChangeLog(self._lists)
        self.published = SqlitePublished(_no_writer, self._states)

    async def open(self) -> None:
        """Connect to a file that the owner has brought up to date.

        Raises:
            NewerDatabaseError: written by a newer release. WrongCodecError: encrypted with another codec or key.
            StoreError: there is none yet, or an older one.
        """
        try:
            await self._histories.open()
            await self._states.open()
            await self._lists.open()
            ((version,),) = await self._states.rows("PRAGMA user_version")
        except BaseException:
            await self.close()
            raise
        known = len(migrations.migrations())
        if version != known:
            await self.close()
            if version > known:
                raise NewerDatabaseError(
                    f"{self._path} was written by a newer release (schema {version}, this release knows {known})"
                )
            raise StoreError(_not_ready(self._path, version, known))
        try:
            for (check,) in await self._states.rows(CHECK_OF):
                check_opened(check, has_codec=self._seal is not None)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Disconnect, after the calls that are under way."""
        await self._histories.close()
        await self._states.close()
        await self._lists.close()

    async def histories(self, instance_ids: Sequence[str]) -> Mapping[str, Sequence[Transition] | CorruptDatabaseError]:
        """See `Store.histories`."""
        return await reads.histories(self._histories, instance_ids)

    async def history_page(self, instance_id: str, *, after: int, limit: int) -> HistoryPage | None:
        """See `Store.history_page`."""
        return await reads.history_page(self._histories, instance_id, after=after, limit=limit)

    async def summary(self, instance_id: str) -> InstanceSummary | None:
        """See `Store.summary`."""
        rows = await self._states.rows(reads.SUMMARY_OF, (instance_id,))
        return summary_from(rows[0]) if rows else None

    async def list(
        self, where: InstanceFilter = EVERY_INSTANCE, *, after: str | None = None, limit: int = MAX_PAGE
    ) -> Sequence[InstanceSummary]:
        """See `Store.list`."""
        return await reads.list_page(self._lists, where, after=after, limit=limit)

    async def definitions(self) -> Sequence[WorkflowDefinition]:
        """See `Store.definitions`."""
        definitions, _unreadable = definitions_from(await self._states.rows(reads.DEFINITIONS))  # the owner tells
        return definitions

    async def schedules(self) -> Sequence[Schedule]:
        """See `ScheduleStore.all`."""
        schedules, _unreadable = schedules_from(await self._states.rows(schedule_rows.ALL))  # the owner tells
        return schedules

    async def tokens(self) -> Sequence[Token]:
        """See `TokenStore.all`."""
        tokens, _unreadable = token_rows.tokens_from(await self._states.rows(token_rows.ALL))  # the owner tells
        return tokens

    async def find_token(self, token_id: str) -> Token | None:
        """The token of that id, or None; one that cannot be read is none."""
        tokens, _unreadable = token_rows.tokens_from(await self._states.rows(token_rows.ONE, (token_id,)))
        return tokens[0] if tokens else None

    async def has_tokens(self) -> bool:
        """Whether there are any, those that cannot be read too."""
        ((has_any,),) = await self._states.rows(token_rows.ANY)
        return bool(has_any)

    async def secret(self, name: str) -> bytes | None:
        """See `SecretStore.get`."""
        return await read_secret(self._states, name)

    async def data_version(self) -> int:
        """A number that differs from the one before when anybody has committed in between."""
        ((version,),) = await self._states.rows("PRAGMA data_version")
        return int(version)

    async def revisions(self, instance_ids: Sequence[str]) -> Mapping[str, int]:
        """The revisions of those of these instances that are there."""
        return dict(await self._states.rows(_REVISIONS, (json.dumps(list(instance_ids)),)))

    async def ended(self, instance_ids: Sequence[str]) -> Sequence[str]:
        """Which of them have finished, or are not there any more."""
        return await self._states.ids(_ENDED, (json.dumps(list(instance_ids)),))
