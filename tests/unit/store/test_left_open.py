"""A program that ends and has not closed its store ends all the same, and has lost nothing."""

import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

PROGRAM = """
import asyncio, sys
from pylon_workflows.store.sqlite import SqliteStore
from tests.contracts.store_contract import new_instance

async def main():
    store = SqliteStore(sys.argv[1])
    await store.open()
    await store.create(new_instance())
    assert await store.list()

asyncio.run(main())
"""


@pytest.mark.slow
def test_a_program_that_leaves_its_store_open_ends_and_has_lost_nothing(tmp_path):
    path = tmp_path / "workflows.db"
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT id FROM instances").fetchall() == [("wf_1",)]
