"""A batch of writes, done in one transaction that the caller commits."""

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pylon_workflows.store.failures import concerns_the_file, translate

Operation = Callable[[sqlite3.Connection, Sequence[Any]], Sequence[Any]]
"""Does all items and returns their results in order. When it raises, everything is rolled back, and it is called again
with each item alone."""


class Work(NamedTuple):
    """An item for the operation of that rank; `caller` is handed back with what came of it."""

    rank: int
    item: Any
    rows: int
    caller: Any


class Outcome(NamedTuple):
    """What came of one item: a result, or an error."""

    caller: Any
    result: Any = None
    error: BaseException | None = None


def do_batch(connection: sqlite3.Connection, operations: Sequence[Operation], batch: Sequence[Work]) -> list[Outcome]:
    """Begin a transaction and do everything; what is wrong with one item costs that item alone.

    `batch` is in the order of ranks. Raises what concerns the whole file, and leaves the transaction to the caller.
    """
    try:
        return _do_together(connection, operations, batch)
    except Exception as error:
        if concerns_the_file(error):
            raise
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        return _do_one_by_one(connection, operations, batch)


def _do_together(
    connection: sqlite3.Connection, operations: Sequence[Operation], batch: Sequence[Work]
) -> list[Outcome]:
    connection.execute("BEGIN IMMEDIATE")
    outcomes: list[Outcome] = []
    first = 0
    for last, work in enumerate(batch, 1):
        if last < len(batch) and batch[last].rank == work.rank:
            continue
        results = operations[work.rank](connection, [each.item for each in batch[first:last]])
        outcomes += [Outcome(each.caller, result) for each, result in zip(batch[first:last], results, strict=True)]
        first = last
    return outcomes


def _do_one_by_one(
    connection: sqlite3.Connection, operations: Sequence[Operation], batch: Sequence[Work]
) -> list[Outcome]:
    connection.execute("BEGIN IMMEDIATE")
    outcomes: list[Outcome] = []
    for work in batch:
        connection.execute("SAVEPOINT item")
        try:
            (result,) = operations[work.rank](connection, [work.item])
            outcomes.append(Outcome(work.caller, result))
        except Exception as error:
            if concerns_the_file(error):
                raise
            connection.execute("ROLLBACK TO item")
            outcomes.append(Outcome(work.caller, error=translate(error)))
        connection.execute("RELEASE item")
    return outcomes
