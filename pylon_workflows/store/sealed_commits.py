"""Rows on their way to the writer, sealed: here stands which columns of the file hold what users put into workflows.

| table | columns |
|---|---|
| history | body, payload |
| instances | error, blocked_reason |
| published | data, start_input |
| schedules | input |
| outbox | error, blocked_reason |
| secrets | value |

A trigger copies those of the outbox from the instance, sealed as they are. The rest is plain: names, ids, keys, tags,
times, counts, definitions, tokens (of whose secrets there are only hashes).
"""

from collections.abc import Callable, Sequence
from typing import Any

from pylon_workflows.ports import Write
from pylon_workflows.store import published_rows, schedule_rows, token_rows, writes
from pylon_workflows.store.batches import Operation
from pylon_workflows.store.codec import Encoded
from pylon_workflows.store.group_commit import GroupCommit
from pylon_workflows.store.published_rows import ACCEPTED
from pylon_workflows.store.rows import APPENDED, CREATED, EARLIER, RESTORED, Row
from pylon_workflows.store.schedule_rows import SCHEDULE
from pylon_workflows.store.sealing import Seal
from pylon_workflows.store.sqlite_outbox import OUTBOX_OPERATIONS
from pylon_workflows.store.sqlite_runs import PastRow, delete_past_runs
from pylon_workflows.store.sqlite_secrets import keep_secret

_USERS = frozenset({"error", "blocked_reason", "data", "start_input", "input"})


class SealedCommits(GroupCommit):
    """A `GroupCommit` that seals each item before it is queued."""

    def __init__(self, seal: Seal, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._seal = seal

    def submit(self, operation: Operation, item: Any, *, rows: int = 1) -> Write[Any]:
        """See `GroupCommit.submit`. Raises StoreError: the codec does not seal it."""
        sealed = OPERATIONS[operation]
        return super().submit(operation, item if sealed is None else sealed(self._seal, item), rows=rows)


def _row(columns: Sequence[str]) -> Callable[[Seal, Row], Row]:
    """What seals a row of these columns."""
    values = [place for place, name in enumerate(columns) if name in _USERS]
    body = columns.index("body") if "body" in columns else None

    def sealed(seal: Seal, row: Row) -> Row:
        changed = list(row)
        if body is not None:
            changed[body : body + 2] = seal.transition(row[body], row[body + 1]), None
        for place in values:
            if row[place] is not None:
                changed[place] = seal.value(row[place])
        return tuple(changed)

    return sealed


_created, _appended, _earlier = _row(CREATED), _row(APPENDED), _row(EARLIER)
_restored, _accepted, _schedule = _row(RESTORED), _row(ACCEPTED), _row(SCHEDULE)


def _append(seal: Seal, rows: Sequence[Row]) -> Sequence[Row]:
    return [*(_earlier(seal, row) for row in rows[:-1]), *(_appended(seal, row) for row in rows[-1:])]


def _with_starts(seal: Seal, item: tuple[Sequence[Row], Sequence[Row]]) -> Any:
    return [_created(seal, row) for row in item[0]], _append(seal, item[1])


def _whole(seal: Seal, item: tuple[Row, Sequence[Row]]) -> Any:
    return _created(seal, item[0]), _append(seal, item[1])


def _accept(seal: Seal, item: published_rows.AcceptRow) -> Any:
    return item._replace(row=_accepted(seal, item.row))


def _claim(seal: Seal, item: published_rows.ClaimRow) -> Any:
    return item._replace(appended=_append(seal, item.appended))


def _start(seal: Seal, item: published_rows.StartRow) -> Any:
    return item._replace(created=_created(seal, item.created))


def _tick(seal: Seal, item: schedule_rows.TickRow) -> Any:
    return item if item.created is None else item._replace(created=_created(seal, item.created))


def _past(seal: Seal, item: PastRow) -> Any:
    kind, at, body, payload = item.columns
    return item._replace(columns=Encoded(kind, at, seal.transition(body, payload), None))  # type: ignore[arg-type]


def _secret(seal: Seal, item: tuple[str, bytes]) -> Any:
    return item[0], seal.value(item[1])


OPERATIONS: dict[Operation, Callable[[Seal, Any], Any] | None] = {
    writes.create: _created,
    writes.append: _append,
    writes.append_with_starts: _with_starts,
    writes.create_whole: _whole,
    writes.park: None,
    writes.restore: _restored,
    writes.mark_announced: None,
    writes.save_definition: None,
    writes.delete: None,
    schedule_rows.save_schedule: _schedule,
    schedule_rows.tick_schedule: _tick,
    schedule_rows.delete_schedule: None,
    published_rows.accept_published: _accept,
    published_rows.claim_published: _claim,
    published_rows.start_published: _start,
    published_rows.expire_published: None,
    published_rows.forget_published: None,
    token_rows.save_token: None,
    token_rows.delete_token: None,
    keep_secret: _secret,
    delete_past_runs: _past,
    **dict.fromkeys(OUTBOX_OPERATIONS),
}
"""All that is written, in the order in which a batch does it, with what seals its items: None where they hold nothing
that users have put into workflows."""
