"""All connections of a server: what each waits for and since when, so that the slow end and there is always room.

A connection waits for a head, for a body, for the rest of a body that nobody reads, or for nothing: then the server has
its request and works. One clock stroke looks at all whose time has come; no connection has a timer of its own.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from pylon_workflows.errors import InvalidInputError
from pylon_workflows.once_a_minute import OnceAMinute

_log = logging.getLogger(__name__)

_LOOK_S = 0.5

_LINGER_S = 5.0
"""For the rest of a body that nobody reads, so that the caller can hear the answer before the connection ends."""

_YOUNG_S = 1.0
"""A head that has not taken longer is not slow: most come in one piece, as most bodies come with theirs."""


class Awaited(Enum):
    """What a connection waits for from its caller."""

    NEXT_REQUEST = "next request"
    HEAD = "head"
    BODY = "body"
    UNREAD_BODY = "unread body"


class Connection(Protocol):
    """One caller's connection."""

    def end_late(self, awaited: Awaited | None) -> None:
        """End, because what was awaited (None: that the caller takes its answer) has not come in time."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeLimits:
    """What callers get of a server. A head has `head_timeout_s`, a body `body_timeout_s` from its head on, and a caller
    takes something of its answer every `answer_timeout_s`. The bodies of all requests that are not answered yet have
    `all_bodies_bytes` together.

    Raises:
        InvalidInputError: a number that is not positive.
    """

    max_connections: int
    head_timeout_s: float = 10.0
    body_timeout_s: float = 35.0
    answer_timeout_s: float = 60.0
    all_bodies_bytes: int = 128 * 1024 * 1024

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not getattr(self, name) > 0:
                raise InvalidInputError(f"{name}: must be positive, not {getattr(self, name)}")


class Connections:
    """Keeps a server's connections; `now` tells seconds."""

    def __init__(self, limits: EdgeLimits, now: Callable[[], float]) -> None:
        self._limits = limits
        self._now = now
        self._awaiting: dict[Connection, Awaited | None] = {}
        self._since: dict[Awaited, dict[Connection, float]] = {awaited: {} for awaited in Awaited}
        self._stalled: dict[Connection, float] = {}
        self._held: dict[Connection, int] = {}
        self._held_bytes = 0
        self._deadlines = {
            Awaited.HEAD: limits.head_timeout_s,
            Awaited.BODY: limits.body_timeout_s,
            Awaited.UNREAD_BODY: _LINGER_S,
        }
        self._ended = 0
        self._reports = OnceAMinute(now)

    def __len__(self) -> int:
        return len(self._awaiting)

    def enter(self, connection: Connection) -> bool:
        """A new connection, whose head is awaited. Whether it may stay: another that was slower has made room, if need
        be, and where all are at work there is none.
        """
        is_there_room = len(self) < self._limits.max_connections or self._make_room()
        if is_there_room:
            self.expect(connection, Awaited.HEAD)
        return is_there_room

    def expect(self, connection: Connection, awaited: Awaited | None) -> None:
        """From now on this is awaited of it."""
        before = self._awaiting.get(connection)
        if before is not None:
            del self._since[before][connection]
        self._awaiting[connection] = awaited
        if awaited is not None:
            self._since[awaited][connection] = self._now()

    def awaited(self, connection: Connection) -> Awaited | None:
        """What is awaited of it."""
        return self._awaiting.get(connection)

    def hold(self, connection: Connection, size: int) -> None:
        """So much more of its body is in memory, until it is answered. When that is too much, the slowest body ends."""
        if connection not in self._awaiting:
            return
        self._held[connection] = self._held.get(connection, 0) + size
        self._held_bytes += size
        while self._held_bytes > self._limits.all_bodies_bytes:
            slowest = next(iter(self._since[Awaited.BODY]), None)
            if slowest is None:
                return
            self._report("bodies of %d bytes wait for their ends", self._held_bytes)
            self._end(slowest, Awaited.BODY)

    def release(self, connection: Connection) -> None:
        """Its request is answered."""
        self._held_bytes -= self._held.pop(connection, 0)

    def stall(self, connection: Connection) -> None:
        """Its caller takes no more of its answer for now."""
        self._stalled.setdefault(connection, self._now())

    def flow(self, connection: Connection) -> None:
        """Its caller has taken what there was."""
        self._stalled.pop(connection, None)

    def leave(self, connection: Connection) -> None:
        """It has ended."""
        awaited = self._awaiting.pop(connection, None)
        if awaited is not None:
            self._since[awaited].pop(connection, None)
        self._stalled.pop(connection, None)
        self.release(connection)

    async def run(self) -> None:
        """Look again and again."""
        while True:
            await asyncio.sleep(_LOOK_S)
            self.look()

    def look(self) -> None:
        """End what is late. Those of a kind stand in the order of their times, so that only the late are looked at."""
        for awaited, seconds in self._deadlines.items():
            self._end_late(self._since[awaited], awaited, seconds)
        self._end_late(self._stalled, None, self._limits.answer_timeout_s)

    def _end_late(self, since: dict[Connection, float], awaited: Awaited | None, seconds: float) -> None:
        last = self._now() - seconds
        while since:
            connection, began_at = next(iter(since.items()))
            if began_at > last:
                return
            self.leave(connection)
            connection.end_late(awaited)

    def _make_room(self) -> bool:
        """End the one that is missed least: one that is slow with its head, else one that is idle, else a late body.

        One whose caller does not take its answer comes before an idle one. The oldest of its kind, so that whoever is
        quick is gone with an answer before it is his turn.
        """
        self._report("all %d connections are taken", self._limits.max_connections)
        for awaited, at_least_s in (
            (Awaited.UNREAD_BODY, 0.0),
            (Awaited.HEAD, _YOUNG_S),
            (None, _YOUNG_S),
            (Awaited.NEXT_REQUEST, 0.0),
            (Awaited.BODY, 0.0),
            (Awaited.HEAD, 0.0),
        ):
            since = self._stalled if awaited is None else self._since[awaited]
            connection, began_at = next(iter(since.items()), (None, 0.0))
            if connection is not None and self._now() - began_at >= at_least_s:
                self._end(connection, awaited)
                return True
        return False

    def _end(self, connection: Connection, awaited: Awaited | None) -> None:
        self._ended += 1
        self.leave(connection)
        connection.end_late(awaited)

    def _report(self, what: str, count: int) -> None:
        if self._reports.turn() is not None:
            _log.warning(f"{what}: the slowest make room, %d so far", count, self._ended)
