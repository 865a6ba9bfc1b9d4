"""Tokens in their table: as rows, and what is asked and done there."""

# ruff: noqa: S608  only column names are put into statements; values are always parameters

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from pylon_workflows.errors import CorruptDatabaseError, InvalidInputError
from pylon_workflows.store.codec import from_microseconds, to_microseconds
from pylon_workflows.store.file_copies import uri
from pylon_workflows.store.rows import Row, or_none, text
from pylon_workflows.tokens import SCOPES, Token, checked_scopes

TOKEN = ("id", "hash", "scopes", "created_at", "expires_at", "note")

_COLUMNS = ", ".join(TOKEN)
ALL = f"SELECT {_COLUMNS} FROM tokens ORDER BY created_at, id"
ONE = f"SELECT {_COLUMNS} FROM tokens WHERE id = ?"
COUNT = "SELECT count(*) FROM tokens"
ANY = "SELECT EXISTS (SELECT 1 FROM tokens)"
_SAVE = f"INSERT INTO tokens ({_COLUMNS}) VALUES ({', '.join('?' * len(TOKEN))}) ON CONFLICT (id) DO NOTHING"


def save_token(connection: sqlite3.Connection, rows: Sequence[Row]) -> Sequence[None]:
    """Insert rows of TOKEN that are not there."""
    connection.executemany(_SAVE, rows)
    return [None] * len(rows)


def delete_token(connection: sqlite3.Connection, ids: Sequence[str]) -> Sequence[bool]:
    """Delete rows; whether each was there."""
    return [connection.execute("DELETE FROM tokens WHERE id = ?", (each,)).rowcount == 1 for each in ids]


def token_row(token: Token) -> Row:
    """A row of TOKEN."""
    return (
        token.id,
        token.hash,
        " ".join(scope for scope in SCOPES if scope in token.scopes),
        to_microseconds(token.created_at),
        None if token.expires_at is None else to_microseconds(token.expires_at),
        token.note,
    )


def token_from(row: Row) -> Token:
    """The token of a row of TOKEN. Raises CorruptDatabaseError, which names it and the column."""
    values: dict[str, Any] = {}
    for name, value in zip(TOKEN, row, strict=True):
        try:
            values[name] = _READ[name](value)
        except (InvalidInputError, TypeError, ValueError, OverflowError):
            raise CorruptDatabaseError(f"the token {row[0]!r:.40} cannot be read: its {name} is damaged") from None
    return Token(**values)


def tokens_from(rows: Iterable[Row]) -> tuple[list[Token], list[str]]:
    """The tokens of rows of TOKEN; and of each row that is none, a sentence that names it."""
    tokens, unreadable = [], []
    for row in rows:
        try:
            tokens.append(token_from(row))
        except CorruptDatabaseError as error:
            unreadable.append(str(error))
    return tokens, unreadable


def tokens_in(connection: sqlite3.Connection) -> tuple[list[Token], list[str]]:
    """As `tokens_from`, of a file that may be of a release that knew none. Raises sqlite3.Error."""
    try:
        return tokens_from(connection.execute(ALL))
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error):
            raise
        return [], []


def has_tokens(path: Path) -> bool:
    """Whether the file has any. One that is not there, or cannot be read, has none.

    The file is looked at through SQLite alone, so that this may be called beside its engine.
    """
    path = path.resolve()
    if not path.is_file():
        return False
    options = "mode=ro" if Path(f"{path}-wal").exists() else "mode=ro&immutable=1"  # the latter makes no files
    try:
        with closing(sqlite3.connect(uri(path, options), uri=True)) as connection:
            return bool(connection.execute(ANY).fetchone()[0])
    except sqlite3.Error:
        return False


def _hash(value: Any) -> bytes:
    if not isinstance(value, bytes) or len(value) != 32:
        raise TypeError
    return value


_READ: dict[str, Callable[[Any], Any]] = {
    "id": text,
    "hash": _hash,
    "scopes": lambda value: checked_scopes(text(value).split(" ")),
    "created_at": from_microseconds,
    "expires_at": or_none(from_microseconds),
    "note": text,
}
"""How each column is read."""
