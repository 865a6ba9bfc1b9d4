"""A database file, looked at by a program that is not its engine: over a connection that cannot write."""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from pylon_workflows.core.transitions import Transition
from pylon_workflows.errors import StoreError
from pylon_workflows.ids import unknown_instance
from pylon_workflows.ports import PayloadCodec
from pylon_workflows.store.codec import decode_history
from pylon_workflows.store.failures import translate
from pylon_workflows.store.file_copies import uri
from pylon_workflows.store.migrations import check, migrations
from pylon_workflows.store.sealing import Seal, check_file

T = TypeVar("T")

REVISION_OF = "SELECT revision FROM instances WHERE id = ?"
ROWS_OF = """
SELECT revision, type, at, body, payload FROM history
WHERE instance = (SELECT key FROM instances WHERE id = ?) ORDER BY revision
"""


def viewed(path: Path, look: Callable[[sqlite3.Connection], T], codec: PayloadCodec | None = None) -> T:
    """What is seen in the file. To be called in another process than its engine's.

    A file with a log is in use, and SQLite reads it with the log. One without is read as it is, so that nothing is made
    beside it, and once more when an engine has begun to write in the meantime. With a codec its values are opened.

    Raises:
        StoreError and its kinds: there is no such file, or it cannot be read.
    """
    path = path.resolve()
    if not path.is_file():
        raise StoreError(f"{path} is not there: check the name")
    check(path, migrations())
    if not _has_log(path):
        try:
            seen = _seen(path, look, codec, "mode=ro&immutable=1")
        except StoreError:
            if not _has_log(path):
                raise
        else:
            if not _has_log(path):
                return seen
    return _seen(path, look, codec, "mode=ro")


def _has_log(path: Path) -> bool:
    return Path(f"{path}-wal").exists()


def _seen(path: Path, look: Callable[[sqlite3.Connection], T], codec: PayloadCodec | None, options: str) -> T:
    try:
        with closing(sqlite3.connect(uri(path, options), uri=True, isolation_level=None)) as connection:
            connection.row_factory = None if codec is None else Seal(codec).opened
            connection.execute("BEGIN")
            return look(connection)
    except sqlite3.Error as error:
        raise translate(error, str(path)) from error


def history_in(connection: sqlite3.Connection, instance_id: str) -> Sequence[Transition]:
    """All transitions of an instance.

    Raises:
        UnknownInstanceError, UnreadableInstanceError; sqlite3.Error. WrongCodecError: it was viewed without the codec.
    """
    check_file(connection, has_codec=connection.row_factory is not None)
    try:
        found = connection.execute(REVISION_OF, (instance_id,)).fetchone()
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error):  # an empty file has none
            raise
        found = None
    if found is None:
        raise unknown_instance(instance_id)
    return decode_history(instance_id, connection.execute(ROWS_OF, (instance_id,)), revision=found[0])
