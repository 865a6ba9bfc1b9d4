"""What is wrong with a token's row lets nobody in, and is told."""

import logging
import sqlite3
from contextlib import closing

import pytest

from pylon_workflows.store.file_reads import SqliteFileReads
from pylon_workflows.store.sqlite import SqliteStore
from pylon_workflows.store.token_rows import has_tokens
from tests.contracts.token_store_contract import SENDER


@pytest.fixture
async def path(tmp_path):
    path = tmp_path / "workflows.db"
    store = SqliteStore(path)
    await store.open()
    await store.tokens.save(SENDER)
    await store.close()
    return path


def change(path, statement, *values):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement, values)
        connection.commit()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("hash", b"short"),
        ("hash", "x" * 32),
        ("scopes", ""),
        ("scopes", "read everything"),
        ("scopes", b"read"),
        ("created_at", "now"),
        ("created_at", 2**62),
        ("expires_at", "never"),
        ("note", b"\xff"),
    ],
)
async def test_a_damaged_row_is_no_token_and_still_counts(path, column, value, caplog):
    change(path, f"UPDATE tokens SET {column} = ?", value)
    store = SqliteStore(path)
    await store.open()
    try:
        with caplog.at_level(logging.ERROR):
            assert (await store.tokens.all(), await store.tokens.count()) == ([], 1)
        assert f"{SENDER.id!r} cannot be read: its {column} is damaged; it lets nobody in" in caplog.text
        assert SENDER.hash.hex() not in caplog.text
        reads = SqliteFileReads(path)
        await reads.open()
        found = await reads.tokens(), await reads.find_token(SENDER.id), await reads.has_tokens()
        assert found == ([], None, True)
        await reads.close()
        assert has_tokens(path)
        assert await store.tokens.delete(SENDER.id)
        assert not await store.tokens.count()
    finally:
        await store.close()


async def test_whether_a_file_has_tokens_is_told_from_outside_and_makes_nothing(path, tmp_path):
    assert has_tokens(path)
    assert list(tmp_path.iterdir()) == [path]
    assert not has_tokens(tmp_path / "nothing.db")
    (tmp_path / "letter").write_bytes(b"dear all" * 1000)
    assert not has_tokens(tmp_path / "letter")
    change(path, "DELETE FROM tokens")
    assert not has_tokens(path)
    change(path, "DROP TABLE tokens")
    assert not has_tokens(path)


async def test_the_file_holds_no_secret(tmp_path):
    from datetime import UTC, datetime

    from pylon_workflows.tokens import new_token

    path = tmp_path / "workflows.db"
    token, text = new_token(["admin"], now=datetime.now(UTC), note="canary")
    store = SqliteStore(path)
    await store.open()
    await store.tokens.save(token)
    files = b"".join(each.read_bytes() for each in tmp_path.iterdir())
    await store.close()
    files += path.read_bytes()
    assert b"canary" in files
    assert text.rpartition("_")[2].encode() not in files
