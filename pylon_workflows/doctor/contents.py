"""What is in a database file, over a connection that cannot write."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from pylon_workflows.doctor.encryption import encryption
from pylon_workflows.doctor.findings import NOTHING, Finding, Verdict
from pylon_workflows.doctor.verification import verified
from pylon_workflows.errors import CorruptDatabaseError
from pylon_workflows.ports import PayloadCodec
from pylon_workflows.store import outbox_rows, published_rows, reads, schedule_rows
from pylon_workflows.store.failures import is_corruption
from pylon_workflows.store.migrations import APPLICATION_ID, migrations
from pylon_workflows.store.rows import definitions_from
from pylon_workflows.store.schedule_rows import schedules_from
from pylon_workflows.store.sealing import Seal
from pylon_workflows.store.token_rows import tokens_in

_HEADER = b"SQLite format 3\x00"
_HUGE = 1024 * 1024 * 1024
_MOST_ERRORS = 5
_RESTORE = "stop the engine and restore a backup; the engine writes nothing more to a damaged file"


class UnreadableError(Exception):
    """Nothing can be said about what is in the file; `advice` says what to do."""

    def __init__(self, text: str, advice: str) -> None:
        super().__init__(text)
        self.advice = advice


def contents(path: Path, codec: PayloadCodec | None = None, *, is_verifying: bool = False) -> Iterator[Finding]:
    """The schema's version, the integrity and the instances, as far as they can be read; their histories if wanted.

    Raises:
        UnreadableError: no database, another program's, or it cannot be opened now.
    """
    for is_last in (False, True):
        has_log = Path(f"{path}-wal").exists()
        try:
            found = list(_read(path, codec=codec, has_log=has_log, is_verifying=is_verifying))
        except sqlite3.Error as error:
            if is_corruption(error):
                found = [_damaged(str(error))]
            else:
                raise UnreadableError(f"{path} cannot be read: {error}", "see that nothing keeps it locked") from None
        if is_last or has_log or not Path(f"{path}-wal").exists():
            break
        # An engine has begun to write what was read as if nobody did: it may have been torn.
    yield from found


def _read(path: Path, *, codec: PayloadCodec | None, has_log: bool, is_verifying: bool) -> Iterator[Finding]:
    if not has_log:  # with a log it is in use, and opened by SQLite alone, which holds locks on it
        with path.open("rb") as file:
            header = file.read(len(_HEADER))
        if header == b"":
            yield Finding(about="schema", text="empty; the engine makes a database of it at its first start")
            return
        if header != _HEADER:
            raise UnreadableError(f"{path} is no SQLite database, or its beginning is damaged", _RESTORE)
    options = "mode=ro" if has_log else "mode=ro&immutable=1"  # the latter makes no files beside it
    with closing(sqlite3.connect(f"{path.as_uri()}?{options}", uri=True, isolation_level=None)) as connection:
        connection.text_factory = partial(str, encoding="utf-8", errors="backslashreplace")
        connection.row_factory = None if codec is None else Seal(codec).opened
        known = len(migrations())
        version = _version(connection, path)
        yield _schema(version, known)
        integrity = _integrity(connection, is_quick=path.stat().st_size > _HUGE)
        yield integrity
        if 0 < version <= known and integrity.verdict is Verdict.HEALTHY:
            yield _instances(connection)
            if version == known:
                yield _definitions(connection)
                sealed = encryption(connection, has_codec=codec is not None)
                is_readable = sealed is None or bool(sealed.facts["is_opened"])
                if sealed is not None:
                    yield sealed
                if is_readable:
                    yield _schedules(connection)
                yield _tokens(connection)
                yield _published(connection)
                yield _outbox(connection)
                if is_verifying and is_readable:
                    yield from verified(connection)
                elif is_verifying:
                    yield Finding(
                        about="histories",
                        text="not looked at: they are encrypted",
                        advice="give the codec that the engine has (--codec MODULE:NAME)",
                        verdict=Verdict.NEEDS_ACTION,
                    )
            elif is_verifying:
                text = "not looked at: the file is an older release's"
                yield Finding(about="histories", text=text, advice="start the engine, which brings it up to date")


def _version(connection: sqlite3.Connection, path: Path) -> int:
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (objects,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application_id != APPLICATION_ID and (objects or version or application_id):
        raise UnreadableError(f"{path} is the database of another program", "name another file")
    return int(version)


def _schema(version: int, known: int) -> Finding:
    facts = {"version": version, "known": known}
    if version > known:
        return Finding(
            about="schema",
            text=f"version {version}, of a newer release; this one knows {known} and refuses it",
            advice="upgrade pylon-workflows, or restore a backup made with this release",
            verdict=Verdict.NEEDS_ACTION,
            facts=facts,
        )
    if version < known:
        return Finding(
            about="schema",
            text=f"version {version}, of an older release; this one has {known}",
            advice="nothing to do: the next start copies the file and brings it up to date",
            facts=facts,
        )
    return Finding(about="schema", text=f"version {version}, this release's", facts=facts)


def _integrity(connection: sqlite3.Connection, *, is_quick: bool) -> Finding:
    check = "quick_check" if is_quick else "integrity_check"
    try:
        errors = [str(row[0]) for row in connection.execute(f"PRAGMA {check}({_MOST_ERRORS})")]
    except sqlite3.DatabaseError as error:
        if not is_corruption(error):
            raise
        errors = [str(error)]
    if errors != ["ok"]:
        return _damaged("; ".join(line for error in errors for line in error.splitlines()), check)
    return Finding(about="integrity", text=f"{check}: ok", facts={"check": check, "errors": []})


def _damaged(errors: str, check: str = "integrity_check") -> Finding:
    return Finding(
        about="integrity",
        text=f"{check}: the file is damaged: {errors}",
        advice=_RESTORE,
        verdict=Verdict.NEEDS_ACTION,
        facts={"check": check, "errors": [errors]},
    )


def _instances(connection: sqlite3.Connection) -> Finding:
    rows = connection.execute("SELECT status, count(*) FROM instances GROUP BY status ORDER BY status").fetchall()
    counts = {str(status): int(count) for status, count in rows}
    total = sum(counts.values())
    by_status = ", ".join(f"{count:,} {status}" for status, count in counts.items())
    advice = NOTHING
    if counts.get("blocked"):
        advice = "`pylon-workflows list --status blocked` says why they are; mend that, then `resume`"
    return Finding(
        about="instances", text=f"{total:,}" + (f": {by_status}" if by_status else ""), advice=advice, facts=counts
    )


def _definitions(connection: sqlite3.Connection) -> Finding:
    connection.text_factory = reads.any_text  # what is not UTF-8 is to be told from what is
    readable, unreadable = definitions_from(connection.execute(reads.DEFINITIONS))
    facts = {"names": [definition.name for definition in readable], "unreadable": unreadable}
    if unreadable:
        return Finding(
            about="definitions",
            text="; ".join(unreadable[:_MOST_ERRORS]),
            advice="save them anew (POST /definitions), or register them in code: until then the engine knows no "
            "workflow of those names",
            verdict=Verdict.NEEDS_ACTION,
            facts=facts,
        )
    return Finding(about="definitions", text=f"{len(readable):,} saved", facts=facts)


def _schedules(connection: sqlite3.Connection) -> Finding:
    connection.text_factory = reads.any_text
    readable, unreadable = schedules_from(connection.execute(schedule_rows.ALL))
    facts = {"ids": [schedule.id for schedule in readable], "unreadable": unreadable}
    if unreadable:
        return Finding(
            about="schedules",
            text="; ".join(unreadable[:_MOST_ERRORS]),
            advice="remove them (`pylon-workflows schedule remove`) or add them anew: until then they start nothing",
            verdict=Verdict.NEEDS_ACTION,
            facts=facts,
        )
    return Finding(about="schedules", text=f"{len(readable):,}", facts=facts)


def _tokens(connection: sqlite3.Connection) -> Finding:
    connection.text_factory = reads.any_text
    readable, unreadable = tokens_in(connection)
    now = datetime.now(UTC)
    expired = [token.id for token in readable if token.has_expired(now)]
    facts = {"ids": [token.id for token in readable], "expired": expired, "unreadable": unreadable}
    if unreadable:
        return Finding(
            about="tokens",
            text="; ".join(unreadable[:_MOST_ERRORS]),
            advice="revoke them (`pylon-workflows token revoke`) and make others: they let nobody in",
            verdict=Verdict.NEEDS_ACTION,
            facts=facts,
        )
    if not readable:
        return Finding(
            about="tokens", text="none: without one of its own the API answers this machine alone", facts=facts
        )
    text = f"{len(readable):,}" + (f", of which {len(expired):,} have expired" if expired else "")
    return Finding(about="tokens", text=text, facts=facts)


def _published(connection: sqlite3.Connection) -> Finding:
    kept = 0
    unreadable: list[str] = []
    for key, *row in connection.execute(published_rows.ALL_KEPT):
        kept += 1
        try:
            published_rows.published_from(key, tuple(row))
        except CorruptDatabaseError as error:
            unreadable.append(str(error))
    ((remembered,),) = connection.execute(published_rows.COUNT_REMEMBERED)
    facts = {"kept": kept, "remembered": remembered, "unreadable": unreadable}
    text = f"{kept:,} kept for whoever waits for them, {remembered:,} remembered by their ids"
    if unreadable:
        return Finding(
            about="published events",
            text=f"{text}; {'; '.join(unreadable[:_MOST_ERRORS])}",
            advice="nobody gets these: have them sent again, under other ids; they are deleted when their time is over",
            verdict=Verdict.NEEDS_ACTION,
            facts=facts,
        )
    return Finding(about="published events", text=text, facts=facts)


def _outbox(connection: sqlite3.Connection) -> Finding:
    counts = {str(receiver): int(count) for receiver, count in connection.execute(outbox_rows.COUNTS)}
    total = sum(counts.values())
    return Finding(
        about="outbox",
        text=f"{total:,} outbound webhooks not delivered yet" + (f", for {len(counts):,} receivers" if total else ""),
        advice="the log says why, in warnings that begin with `webhook`" if total else NOTHING,
        facts={"receivers": counts},
    )
