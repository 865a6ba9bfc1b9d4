"""What an engine reads that does not own the file: from the file itself, which another process writes."""

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, Unpack

from pylon_workflows.core.instance import Instance
from pylon_workflows.core.transitions import Transition
from pylon_workflows.definitions import Definitions, WorkflowDefinition
from pylon_workflows.errors import (
    CorruptDatabaseError,
    StoreError,
    UnknownInstanceError,
    UnreadableInstanceError,
)
from pylon_workflows.explain.finding import Published, explanation_of
from pylon_workflows.explain.shapes import Driving, Explanation
from pylon_workflows.filters import EVERY_INSTANCE, FilterTerms, InstanceFilter, checked_limit, filter_of
from pylon_workflows.following import Following
from pylon_workflows.histories import folded, history_of, history_page, instance_as_of
from pylon_workflows.hook_keys import HOOK_SECRET, is_present_hook
from pylon_workflows.logs import without_request
from pylon_workflows.ownership.file_identity import Identity, identity_of
from pylon_workflows.parking import shown
from pylon_workflows.ports import MAX_HISTORY_PAGE, MAX_PAGE, ChangeLog, ChangePage, Clock, HistoryPage, InstanceSummary
from pylon_workflows.schedule import Schedule, unknown_schedule
from pylon_workflows.tokens import Token
from pylon_workflows.updates import Updates
from pylon_workflows.waiters import Waiters

_log = logging.getLogger(__name__)

_WATCH_S = 0.05


class FileReads(Protocol):
    """The file, read by a process that does not write it. A closed one can be opened again."""

    async def open(self) -> None:
        """Begin. Raises NewerDatabaseError; StoreError while there is no file yet, or an older one."""
        ...

    async def close(self) -> None:
        """End, after the calls that are under way."""
        ...

    async def histories(self, instance_ids: Sequence[str]) -> Mapping[str, Sequence[Transition] | CorruptDatabaseError]:
        """See `Store.histories`."""
        ...

    async def history_page(self, instance_id: str, *, after: int, limit: int) -> HistoryPage | None:
        """See `Store.history_page`."""
        ...

    async def summary(self, instance_id: str) -> InstanceSummary | None:
        """See `Store.summary`."""
        ...

    async def list(
        self, where: InstanceFilter = EVERY_INSTANCE, *, after: str | None = None, limit: int = MAX_PAGE
    ) -> Sequence[InstanceSummary]:
        """See `Store.list`."""
        ...

    async def definitions(self) -> Sequence[WorkflowDefinition]:
        """See `Store.definitions`."""
        ...

    async def schedules(self) -> Sequence[Schedule]:
        """See `ScheduleStore.all`."""
        ...

    async def tokens(self) -> Sequence[Token]:
        """See `TokenStore.all`."""
        ...

    async def find_token(self, token_id: str) -> Token | None:
        """The token of that id, or None; one that cannot be read is none."""
        ...

    async def has_tokens(self) -> bool:
        """Whether there are any, those that cannot be read too."""
        ...

    async def secret(self, name: str) -> bytes | None:
        """See `SecretStore.get`."""
        ...

    async def data_version(self) -> int:
        """A number that differs from the one before when anybody has committed in between."""
        ...

    @property
    def published(self) -> Published:
        """See `Store.published`."""
        ...

    @property
    def change_log(self) -> ChangeLog:
        """See `Store.change_log`."""
        ...

    async def revisions(self, instance_ids: Sequence[str]) -> Mapping[str, int]:
        """The revisions of those of these instances that are there."""
        ...

    async def ended(self, instance_ids: Sequence[str]) -> Sequence[str]:
        """Which of them have finished, or are not there any more."""
        ...


class Standby:
    """Reads and waits. It keeps no instance: each read is of the file as it is now."""

    def __init__(self, path: Path, reads: FileReads, definitions: Definitions, clock: Clock) -> None:
        self._path = path
        self._reads = reads
        self._definitions = definitions
        self._clock = clock
        self._waiters = Waiters(self._read)
        self._updates = Updates(self._keep_watching)
        self._following = Following(reads, self._updates)
        self._revisions: Mapping[str, int] = {}
        self._watching: asyncio.Task[None] | None = None
        self._identity: Identity | None = None

    @property
    def is_open(self) -> bool:
        """Whether the file can be read."""
        return self._identity is not None

    async def open(self) -> None:
        """Begin to read. Raises NewerDatabaseError; StoreError while the file is not ready."""
        try:
            identity = identity_of(self._path)
        except OSError as error:
            raise StoreError(f"{self._path} cannot be looked at: {error.strerror}") from error
        if identity is None:
            raise StoreError(f"{self._path} is not there yet")
        await self._reads.open()
        self._identity = identity

    async def close(self) -> None:
        """Stop reading; whoever waits is told that it was closed."""
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        self._waiters.close()
        self._updates.close()
        self._identity = None
        await self._reads.close()

    def is_current(self) -> bool:
        """Whether what is read is still the file of that name, as far as can be told."""
        try:
            return self._identity == identity_of(self._path)
        except OSError:
            return True

    async def history(self, instance_id: str) -> Sequence[Transition]:
        """All transitions of an instance, in order. Raises UnknownInstanceError."""
        return await history_of(self._reads, instance_id)

    async def history_page(self, instance_id: str, *, after: int = 0, limit: int = MAX_HISTORY_PAGE) -> HistoryPage:
        """See `ports.Engine.history_page`."""
        return await history_page(self._reads, instance_id, after, limit)

    async def get(self, instance_id: str, *, as_of: int | None = None) -> Instance:
        """See `ports.Engine.get`; one that cannot be read is shown as far as its row tells, as the owner does."""
        if as_of is not None:
            return await instance_as_of(self._reads, instance_id, as_of)
        try:
            return await self._read(instance_id)
        except UnreadableInstanceError as error:
            return await shown(self._reads, instance_id, error)

    async def _read(self, instance_id: str) -> Instance:
        return await folded(instance_id, await self.history(instance_id))

    async def list(
        self, *, after: str | None = None, limit: int = MAX_PAGE, **where: Unpack[FilterTerms]
    ) -> Sequence[InstanceSummary]:
        """See `ports.Engine.list`."""
        return await self._reads.list(filter_of(where), after=after, limit=checked_limit(limit))

    async def definitions(self) -> Sequence[WorkflowDefinition]:
        """See `ports.Engine.definitions`: the program's own, and those in the file."""
        self._definitions.restore(await self._reads.definitions())
        return list(self._definitions)

    async def schedules(self) -> Sequence[Schedule]:
        """See `ports.Engine.schedules`."""
        return await self._reads.schedules()

    async def get_schedule(self, schedule_id: str) -> Schedule:
        """See `ports.Engine.get_schedule`."""
        for schedule in await self._reads.schedules():
            if schedule.id == schedule_id:
                return schedule
        raise unknown_schedule(schedule_id)

    async def tokens(self) -> Sequence[Token]:
        """All tokens of the API, the oldest first."""
        return await self._reads.tokens()

    async def find_token(self, token_id: str) -> Token | None:
        """See `ports.Engine.find_token`: as the file has it now, so that one that was revoked counts no more."""
        return await self._reads.find_token(token_id)

    async def has_tokens(self) -> bool:
        """See `ports.Engine.has_tokens`."""
        return await self._reads.has_tokens()

    async def is_present_hook(self, instance_id: str, name: str, signature: str) -> bool:
        """See `ports.Engine.is_present_hook`."""
        secret, summary = await self._reads.secret(HOOK_SECRET), await self._reads.summary(instance_id)
        return is_present_hook(secret, summary, instance_id, name, signature)

    async def wait(self, instance_id: str, timeout_s: float | None) -> Instance:
        """The instance once it has finished. Raises UnknownInstanceError, TimeoutError."""
        self._keep_watching()
        return await self._waiters.wait(instance_id, timeout_s)

    async def explain(self, instance_id: str) -> Explanation:
        """See `ports.Engine.explain`, as far as the file tells."""
        instance = await self.get(instance_id)
        return await explanation_of(self._reads, instance, self._clock.now(), Driving(place="elsewhere"))

    async def next_history(self, instance_id: str, *, after: int, timeout_s: float) -> HistoryPage:
        """See `ports.Engine.next_history`."""
        return await self._following.next_history(instance_id, after=after, timeout_s=timeout_s)

    async def next_changes(self, *, after: int | None, timeout_s: float) -> ChangePage:
        """See `ports.Engine.next_changes`."""
        return await self._following.next_changes(after=after, timeout_s=timeout_s)

    def _keep_watching(self) -> None:
        if self._watching is None:
            what = "watch the file for what others commit"
            self._watching = asyncio.create_task(self._watch(), name=what, context=without_request())

    async def _watch(self) -> None:
        """Tell those who wait, as long as there are any; the file is read only when somebody has committed to it."""
        seen: int | None = None
        try:
            while self._waiters.ids or self._updates.is_watched or seen is None:
                with _logged(f"{self._path} cannot be read, it is tried again"):
                    if (version := await self._reads.data_version()) != seen:
                        for instance_id in await self._reads.ended(self._waiters.ids):
                            await self._tell(instance_id)
                        await self._tell_of_changes()
                        seen = version
                await asyncio.sleep(_WATCH_S)
        finally:
            self._watching = None

    async def _tell_of_changes(self) -> None:
        if not self._updates.is_watched:
            return
        former, self._revisions = self._revisions, await self._reads.revisions(self._updates.ids)
        self._updates.changed(None)
        for instance_id in self._updates.ids:
            if instance_id not in former or self._revisions.get(instance_id) != former[instance_id]:
                self._updates.changed(instance_id)

    async def _tell(self, instance_id: str) -> None:
        """Raises what may be better when it is read again."""
        try:
            instance = await self._read(instance_id)
        except (UnknownInstanceError, UnreadableInstanceError) as error:
            self._waiters.failed(instance_id, error)
        else:
            self._waiters.finished(instance)


@contextmanager
def _logged(what: str) -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        _log.warning("while this process stands by: %s: %s", what, error)
