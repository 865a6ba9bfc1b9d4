"""A small file with a writer, for tests of what becomes of writes."""

import asyncio
import sqlite3
import threading
from contextlib import closing

from pylon_workflows.store.group_commit import GroupCommit
from tests.faults.faulty_disk import FaultyDisk


class Counting:
    """A fence that counts the transactions in a table of the file, and lets everybody in."""

    def take(self, connection):
        connection.execute("CREATE TABLE IF NOT EXISTS count (number)")
        connection.execute("INSERT INTO count VALUES (0)")

    def mark(self, connection):
        return connection.execute("SELECT number FROM count").fetchone()[0]

    def seal(self, connection, committed):
        assert self.mark(connection) == committed
        connection.execute("UPDATE count SET number = number + 1")
        return committed + 1


class Words:
    """A file of one table, its writer, a disk that fails on demand, and a gate that holds the writer's thread up."""

    def __init__(self, path):
        self.path = path
        self.disk = FaultyDisk()
        self.has_room = True
        self.batches = []
        self.gate = threading.Event()
        self.gate.set()
        self.is_waiting = threading.Event()
        self.trouble = None
        self.connect_trouble = None
        self.writer = GroupCommit(
            self.connect, (self.add, self.remove), Counting(), name="words", has_room=lambda: self.has_room
        )

    def connect(self):
        if self.connect_trouble is not None:
            raise self.connect_trouble
        connection = self.disk.connect(self.path, isolation_level=None, timeout=0.01)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("CREATE TABLE IF NOT EXISTS words (word TEXT PRIMARY KEY)")
        return connection

    def add(self, connection, words):
        self.is_waiting.set()
        self.gate.wait()
        self.batches.append(list(words))
        if self.trouble is not None:
            raise self.trouble
        results = []
        for word in words:
            if word == "drop":
                connection.execute("DROP TABLE words")
            results.append(connection.execute("INSERT INTO words VALUES (?)", (word,)).lastrowid)
        return results

    def remove(self, connection, words):
        return [connection.execute("DELETE FROM words WHERE word = ?", (word,)).rowcount for word in words]

    async def hold(self):
        """Keep the writer busy with a first item until the gate opens."""
        self.gate.clear()
        first = self.writer.submit(self.add, "first")
        await asyncio.get_running_loop().run_in_executor(None, self.is_waiting.wait)
        return first

    async def add_all(self, *words):
        """What came of each word, an error where it failed."""
        return await asyncio.gather(*(self.writer.submit(self.add, word) for word in words), return_exceptions=True)

    def stored(self):
        with closing(sqlite3.connect(self.path)) as connection:
            return [word for (word,) in connection.execute("SELECT word FROM words ORDER BY rowid")]
