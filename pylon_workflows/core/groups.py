"""An open `parallel` or `map`: its members, and what has become of each so far (PROTOCOL.md section 5)."""

import heapq
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pylon_workflows.core.transitions.groups import GroupStarted
from runner_protocol.strict_json import encode_parsed


@dataclass(frozen=True, slots=True)
class Standing:
    """How a member stands: the attempts that failed, and its output or that it has failed for good."""

    failures: int = 0
    last_error: str | None = None
    retry_at: datetime | None = None
    output_json: bytes | None = None
    is_failed: bool = False

    @property
    def is_unfinished(self) -> bool:
        """Whether the member is to be called, again or at all."""
        return self.output_json is None and not self.is_failed


_UNTRIED = Standing()


class Group:
    """A value like `Records`: a change returns a new version, and versions share their storage.

    So a member costs the same among ten thousand as among a hundred. Members are told by their index, from 0.
    """

    __slots__ = ("_at", "_failed", "_output_bytes", "_started", "_storage", "_succeeded", "_waiting")

    def __init__(self, started: GroupStarted) -> None:
        self._started = started
        self._storage = _Storage(json.loads(started.members_json))
        self._at = 0
        self._succeeded = self._failed = self._waiting = self._output_bytes = 0

    @property
    def key(self) -> str:
        """The key of the group's record."""
        return self._started.key

    @property
    def kind(self) -> str:
        """`parallel` or `map`."""
        return self._started.kind

    @property
    def name(self) -> str:
        """The group's name."""
        return self._started.name

    @property
    def started(self) -> GroupStarted:
        """How it began."""
        return self._started

    @property
    def max_in_flight(self) -> int:
        """How many members may be called at a time."""
        return self._started.max_in_flight

    @property
    def fail_fast(self) -> bool:
        """Whether the first member that fails for good ends the group."""
        return self._started.fail_fast

    @property
    def total(self) -> int:
        """How many members there are."""
        return len(self._storage.members)

    @property
    def succeeded_count(self) -> int:
        """How many members have succeeded."""
        return self._succeeded

    @property
    def failed_count(self) -> int:
        """How many members have failed for good."""
        return self._failed

    @property
    def unfinished_count(self) -> int:
        """How many members have neither succeeded nor failed for good."""
        return self.total - self._succeeded - self._failed

    @property
    def is_failing(self) -> bool:
        """Whether a member has failed for good and that ends the group: no member is called any more."""
        return self._failed > 0 and self._started.fail_fast

    @property
    def size(self) -> int:
        """What its inputs and outputs have in bytes."""
        return len(self._started.members_json) + self._output_bytes

    @property
    def due_at(self) -> datetime | None:
        """When to go on with the group; null is at once, for a member can be called or the group can be ended."""
        if self.is_failing or self._waiting < self.unfinished_count:
            return None
        return self.next_retry_at()

    def next_retry_at(self) -> datetime | None:
        """The earliest of the times at which members are retried."""
        if self._waiting == 0:
            return None
        retries = self._newest()._storage.retries
        while self.retry_at(retries[0][1]) != retries[0][0]:
            heapq.heappop(retries)
        return retries[0][0]

    def member_key(self, index: int) -> str:
        """The member's key: `<group key>[0]` of a map, `<group key>/<name>` of a parallel."""
        if self._started.kind == "map":
            return f"{self._started.key}[{index}]"
        return f"{self._started.key}/{self.member_name(index)}"

    def member_name(self, index: int) -> str:
        """The member's name; those of a map have the group's."""
        if self._started.kind == "map":
            return self._started.name
        name: str = self._storage.members[index][0]
        return name

    def input_json(self, index: int) -> bytes:
        """The member's input, or its item."""
        member = self._storage.members[index]
        return encode_parsed(member if self._started.kind == "map" else member[1])

    def standing(self, index: int) -> Standing:
        """How the member stands. Raises IndexError when there is none of that index."""
        if not 0 <= index < self.total:
            raise IndexError(index)
        for since, standing in reversed(self._storage.standings.get(index, ())):
            if since < self._at:
                return standing
        return _UNTRIED

    def failures(self, index: int) -> int:
        """How many attempts of the member have failed."""
        return self.standing(index).failures

    def last_error(self, index: int) -> str | None:
        """The error of the member's last attempt."""
        return self.standing(index).last_error

    def retry_at(self, index: int) -> datetime | None:
        """When the member is retried; null when it has not been tried, is being retried or has finished."""
        return self.standing(index).retry_at

    def is_unfinished(self, index: int) -> bool:
        """Whether there is such a member, and it has neither succeeded nor failed for good."""
        return 0 <= index < self.total and self.standing(index).is_unfinished

    def unfinished(self, start: int = 0) -> Iterator[int]:
        """The unfinished members in their order, from the index `start` on."""
        return (index for index in range(start, self.total) if self.standing(index).is_unfinished)

    def failed(self) -> Iterator[int]:
        """The members that have failed for good, in their order."""
        return (index for index in range(self.total) if self.standing(index).is_failed)

    @property
    def output_json(self) -> bytes:
        """The outputs of all members, in their order; an object by name for a parallel."""
        outputs = (self.standing(index).output_json or b"null" for index in range(self.total))
        if self._started.kind == "map":
            return b"[%b]" % b",".join(outputs)
        names = (encode_parsed(name) for name, _ in self._storage.members)
        return b"{%b}" % b",".join(b"%b:%b" % member for member in zip(names, outputs, strict=True))

    def with_success(self, index: int, output_json: bytes) -> "Group":
        """This group after the member has succeeded."""
        before = self.standing(index)
        changed = self._changed(index, Standing(before.failures, None, None, output_json))
        changed._succeeded += 1
        changed._output_bytes += len(output_json)
        return changed

    def with_retry(self, index: int, failures: int, error: str, retry_at: datetime) -> "Group":
        """This group after an attempt has failed that is retried."""
        return self._changed(index, Standing(failures, error, retry_at))

    def with_failure(self, index: int, failures: int, error: str) -> "Group":
        """This group after the member has failed for good."""
        changed = self._changed(index, Standing(failures, error, is_failed=True))
        changed._failed += 1
        return changed

    def woken(self, at: datetime) -> "Group":
        """This group when the time has come: the members whose retry is due wait for it no longer."""
        group = self._newest()
        while (retry_at := group.next_retry_at()) is not None and retry_at <= at:
            _, index = group._storage.retries[0]
            before = group.standing(index)
            group = group._changed(index, Standing(before.failures, before.last_error))
        return group

    def _changed(self, index: int, standing: Standing) -> "Group":
        base = self._newest()
        changed = object.__new__(Group)
        changed._started, changed._storage = base._started, base._storage
        changed._succeeded, changed._failed = base._succeeded, base._failed
        changed._output_bytes = base._output_bytes
        changed._waiting = base._waiting + (standing.retry_at is not None) - (base.retry_at(index) is not None)
        base._storage.standings.setdefault(index, []).append((base._at, standing))
        if standing.retry_at is not None:
            heapq.heappush(base._storage.retries, (standing.retry_at, index))
        base._storage.changes = changed._at = base._at + 1
        return changed

    def _newest(self) -> "Group":
        """This version, or where its storage has gone on without it, the same with a storage of its own."""
        if self._storage.changes == self._at:
            return self
        copy = object.__new__(Group)
        copy._started, copy._storage = self._started, _Storage(self._storage.members)
        copy._succeeded, copy._failed, copy._waiting = self._succeeded, self._failed, self._waiting
        copy._output_bytes = self._output_bytes
        for index in range(self.total):
            standing = self.standing(index)
            if standing is not _UNTRIED:
                copy._storage.standings[index] = [(-1, standing)]
            if standing.retry_at is not None:
                heapq.heappush(copy._storage.retries, (standing.retry_at, index))
        copy._at = 0
        return copy

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Group)
            and self._started == other._started
            and all(self.standing(index) == other.standing(index) for index in range(self.total))
        )

    def __hash__(self) -> int:
        return hash((self._started, self._succeeded, self._failed))

    def __repr__(self) -> str:
        return f"Group({self.key!r}, {self._succeeded} succeeded and {self._failed} failed of {self.total})"


class _Storage:
    """What versions share: of each member how it has stood since which change, and the times of retries."""

    __slots__ = ("changes", "members", "retries", "standings")

    def __init__(self, members: list[Any]) -> None:
        self.members = members
        self.standings: dict[int, list[tuple[int, Standing]]] = {}
        self.retries: list[tuple[datetime, int]] = []  # a heap; entries that a later change has overtaken stay in it
        self.changes = 0
