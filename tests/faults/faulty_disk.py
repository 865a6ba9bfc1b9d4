"""A disk that fails where the test says: its connections raise errors of SQLite's, before a statement or after it."""

import sqlite3
from typing import NamedTuple


class Fault(NamedTuple):
    """Statements that begin so raise this, so many times. `is_after`: although they have been executed."""

    statement: str
    error: str
    times: int = 1
    is_after: bool = False


def sqlite_error(name, kind=sqlite3.OperationalError):
    """An error as the sqlite3 module raises it."""
    error = kind(name.lower())
    error.sqlite_errorname = name
    return error


class FaultyDisk:
    """`connect` in place of `sqlite3.connect`; `executed` are the statements that were executed, faulty ones too."""

    def __init__(self):
        self.faults = []
        self.executed = []
        self.connections = 0
        self._connect = sqlite3.connect

    def fail(self, statement, error, *, times=1, is_after=False):
        self.faults.append(Fault(statement, error, times, is_after))

    def connect(self, *arguments, **options):
        disk = self

        class Connection(sqlite3.Connection):
            def execute(self, statement, *parameters):
                return disk.execute(super().execute, statement, *parameters)

        disk.connections += 1
        fault = disk._fault_in("connect")
        if fault is not None:
            raise sqlite_error(fault.error)
        return self._connect(*arguments, **options, factory=Connection)

    def execute(self, execute, statement, *parameters):
        fault = self._fault_in(statement)
        self.executed.append(statement)
        if fault is None:
            return execute(statement, *parameters)
        if fault.is_after:
            execute(statement, *parameters)
        raise sqlite_error(fault.error)

    def _fault_in(self, statement):
        for place, fault in enumerate(self.faults):
            if statement.startswith(fault.statement) and fault.times > 0:
                self.faults[place] = fault._replace(times=fault.times - 1)
                return fault
        return None
