"""How a list asks its tables: down one index, chosen by what the fewest instances meet, with nothing sorted."""

from contextlib import closing
from itertools import product

import pytest

from pylon_workflows.core.instance import Status
from pylon_workflows.filters import InstanceFilter
from pylon_workflows.store.lists import count_statement, list_statement, walks
from pylon_workflows.store.reads import Reader, list_page
from pylon_workflows.store.sqlite import SqliteStore
from tests.contracts.store_contract import at, new_instance


@pytest.fixture
def connection(tmp_path):
    with closing(SqliteStore(tmp_path / "workflows.db")._connect()) as connection:
        yield connection


def plan(connection, statement, parameters):
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]


FILTERS = [
    InstanceFilter(**{name: value for term in terms for name, value in term.items()})
    for terms in product(
        (
            {},
            {"statuses": [Status.RUNNING]},
            {"statuses": [Status.SLEEPING, Status.BLOCKED]},
            {"statuses": list(Status)},
        ),
        ({}, {"name": "order"}),
        ({}, {"tags": {"customer": "7"}}, {"tags": {"customer": "7", "env": "test"}}),
        ({}, {"parent_id": "wf_1"}),
        ({}, {"started_after": at(1)}, {"started_before": at(9)}, {"started_after": at(1), "started_before": at(9)}),
    )
]


@pytest.mark.parametrize("after", [None, "wf_1"])
def test_every_filter_walks_one_index_and_sorts_nothing(connection, after):
    for where in FILTERS:
        ways = walks(where)
        for leading in range(len(ways)):
            lines = plan(connection, *list_statement(where, ways, leading, after=after, limit=9))
            assert not [line for line in lines if "TEMP B-TREE" in line], (where, lines)
            roads = [line for line in lines if line.startswith(("SEARCH instances", "SCAN", "SEARCH tag"))]
            assert all("INDEX" in line or "PRIMARY KEY" in line for line in roads), (where, lines)
            scanned = [line for line in lines if line.startswith("SCAN")]
            assert not scanned or (where == InstanceFilter() and after is None), (where, lines)


def test_counting_what_leads_looks_at_indexes_alone(connection):
    for where in FILTERS:
        lines = plan(connection, *count_statement(where, walks(where)))
        assert not [line for line in lines if line.startswith("SCAN instances") and "INDEX" not in line]
        assert not [line for line in lines if line.startswith("SEARCH") and "COVERING INDEX" not in line], lines


def test_both_ends_of_a_time_are_sought_and_so_is_a_page(connection):
    where = InstanceFilter(name="order", started_after=at(1), started_before=at(9))
    for after in (None, "wf_1"):
        lines = plan(connection, *list_statement(where, walks(where), 0, after=after, limit=9))
        assert lines[0] == "SEARCH instances USING INDEX instances_by_name (name=? AND created_at>? AND created_at<?)"


async def test_what_the_fewest_meet_leads(tmp_path):
    store = SqliteStore(tmp_path / "workflows.db")
    await store.open()
    for number in range(40):
        await store.create(new_instance(f"wf_{number}", name="rare" if number == 7 else "common", at=at(number)))
    await store.close()
    noted = []

    class Noting(Reader):
        async def rows(self, statement, parameters=()):
            noted.append(statement)
            return await super().rows(statement, parameters)

    reader = Noting(tmp_path / "workflows.db")
    await reader.open()
    for name, ids in (("rare", ["wf_7"]), ("common", [f"wf_{number}" for number in (39, 38)])):
        where = InstanceFilter(name=name, statuses=[Status.PENDING])
        assert [each.id for each in await list_page(reader, where, after=None, limit=2)] == ids
        assert "INDEXED BY instances_by_name" in noted[-1]
    where = InstanceFilter(name="common", statuses=[Status.RUNNING, Status.BLOCKED])
    assert await list_page(reader, where, after=None, limit=2) == []
    assert "INDEXED BY instances_by_status" in noted[-1]
    await reader.close()


def test_whatever_a_value_holds_it_is_a_value(connection):
    where = InstanceFilter(name="'; DROP TABLE instances; --", tags={"a": "' OR 1"})
    assert connection.execute(*list_statement(where, walks(where), 0, after="wf_1' OR 1", limit=9)).fetchall() == []
