"""Values in the file that a codec has encrypted: sealed when a row goes in, opened when one comes out.

A sealed value is a blob: a mark with which no value of ours begins, and what the codec made of a letter and the value.
`t` is a text, `b` bytes, `p` the body and the payload of a transition, with a newline between them (a body has none),
which stand in the column `body` alone: who reads it reads
`payload` next to it. A row may be sealed or not, whatever the others are.

The file says that it is sealed by a value of its own among its secrets, which is sealed too: who cannot open that one
has not the codec, or another key, and is told so before anything else is read.
"""

import logging
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pylon_workflows.errors import StoreError, WrongCodecError
from pylon_workflows.ports import PayloadCodec

MARK = b"\x00sealed\x00"
CHECK_NAME = "codec"
CHECK_OF = "SELECT value FROM secrets WHERE name = 'codec'"
_CHECK = b"pylon-workflows"
_OLDEST = "SELECT body, payload FROM history WHERE instance <> 0 ORDER BY rowid LIMIT 2"
_LONGEST_REASON = 200

_log = logging.getLogger(__name__)


class Seal:
    """Seals and opens with a codec."""

    def __init__(self, codec: PayloadCodec) -> None:
        self._codec = codec

    def value(self, value: str | bytes) -> bytearray:
        """A value, sealed. Raises StoreError: the codec does not do it."""
        return self._sealed(b"t" + value.encode() if isinstance(value, str) else b"b" + value)

    def transition(self, body: str, payload: bytes | None) -> bytearray:
        """The body and the payload of a transition, sealed as one value. Raises StoreError."""
        value = b"p" + body.encode()
        return self._sealed(value if payload is None else b"%b\n%b" % (value, payload))

    def opened(self, _cursor: object, row: tuple[Any, ...]) -> tuple[Any, ...]:
        """A row with its sealed values opened, for a connection's `row_factory`; one that does not open stays so."""
        for place, value in enumerate(row):
            if is_sealed(value):
                row = self._with_opened(row, place)
        return row

    def check(self) -> None:
        """Whether the codec gives back what it gets. Raises WrongCodecError."""
        try:
            is_given_back = self._codec.decode(bytes(self.value(_CHECK)[len(MARK) :])) == b"b" + _CHECK
        except Exception as error:
            raise WrongCodecError(f"the codec cannot decode what it has encoded: {_reason(error)}") from error
        if not is_given_back:
            raise WrongCodecError("the codec decodes something else than it has encoded")

    def _sealed(self, value: bytes) -> bytearray:
        try:
            encoded = self._codec.encode(value)
        except Exception as error:
            raise StoreError(f"the codec failed, and nothing was stored: {_reason(error)}") from error
        if not isinstance(encoded, bytes):
            raise StoreError(f"the codec gave {type(encoded).__name__} in place of bytes, and nothing was stored")
        return bytearray(MARK + encoded)  # for a bytearray sqlite3 looks for no adapter

    def _with_opened(self, row: tuple[Any, ...], place: int) -> tuple[Any, ...]:
        try:
            value = self._codec.decode(row[place][len(MARK) :])
            match value[:1]:
                case b"t":
                    return (*row[:place], value[1:].decode(), *row[place + 1 :])
                case b"b":
                    return (*row[:place], value[1:], *row[place + 1 :])
                case b"p":
                    body, newline, payload = value[1:].partition(b"\n")
                    return (*row[:place], body.decode(), payload if newline else None, *row[place + 2 :])
        except Exception:  # noqa: S110 -- whoever reads it finds it sealed, and says so about one instance
            pass
        return row


def is_sealed(value: object) -> bool:
    """Whether a column holds a value that is sealed still."""
    return type(value) is bytes and value.startswith(MARK)


def check_opened(check: object, *, has_codec: bool) -> None:
    """Raises WrongCodecError where the file's own value is sealed still."""
    if not is_sealed(check):
        return
    if has_codec:
        raise WrongCodecError(
            "the database is encrypted with another key than the codec has: give the codec that it was written with"
        )
    raise WrongCodecError("the database is encrypted: give the codec that it was written with (codec=..., --codec)")


def check_file(connection: sqlite3.Connection, *, has_codec: bool) -> bool:
    """Whether a file is encrypted; over a connection that opens rows if there is a codec. Raises WrongCodecError."""
    try:
        found = connection.execute(CHECK_OF).fetchone()
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error):  # an older schema, an empty file
            raise
        found = None
    if found is not None:
        check_opened(found[0], has_codec=has_codec)
    return found is not None


def take_file(connection: sqlite3.Connection, path: Path, seal: Seal | None) -> None:
    """Make the connection that writes open what it reads, and the file one that is encrypted, where there is a codec.

    What the file keeps for itself and the inputs of its schedules are sealed anew, with the newest key.

    Raises:
        WrongCodecError: the file cannot be read without another codec, or with older keys than this one has. Nothing
        was changed.
    """
    if seal is None:
        check_file(connection, has_codec=False)
        return
    seal.check()
    connection.row_factory = seal.opened
    was_encrypted = check_file(connection, has_codec=True)
    oldest = [body for body, _payload in connection.execute(_OLDEST)]
    if oldest and all(is_sealed(body) for body in oldest):
        raise WrongCodecError(
            f"{path}: this codec has not the key of its oldest rows: let it decode with the older keys too, as long as "
            "instances are kept that were written with them"
        )
    if oldest and not was_encrypted:
        _log.warning("%s is encrypted from now on; what was written before stays as it is", path)
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute("INSERT OR IGNORE INTO secrets (name, value) VALUES (?, ?)", (CHECK_NAME, _CHECK))
        _seal_anew(connection, seal, "secrets", ("name", "value"))
        _seal_anew(connection, seal, "schedules", ("id", "input"))
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _seal_anew(connection: sqlite3.Connection, seal: Seal, table: str, columns: Sequence[str]) -> None:
    key, value = columns
    for name, found in connection.execute(f"SELECT {key}, {value} FROM {table}").fetchall():  # noqa: S608  fixed names
        if isinstance(found, bytes) and not is_sealed(found):
            statement = f"UPDATE {table} SET {value} = ? WHERE {key} = ?"  # noqa: S608
            connection.execute(statement, (seal.value(found), name))


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:_LONGEST_REASON]
