"""Classes that are quickly made are what they would be otherwise."""

import copy
import pickle
from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime

import pytest

from pylon_workflows.core.records import Record

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RECORD = Record(key="a", name="b", position=3, started_at=NOW, completed_at=NOW, duration_ms=1)


def test_fields_have_what_they_were_given_or_their_defaults():
    record = Record(key="a", name="b", position=3, started_at=NOW, completed_at=NOW, duration_ms=1, after=2)
    assert (record.key, record.position, record.after, record.kind, record.output_json) == ("a", 3, 2, "step", b"null")


def test_it_is_frozen():
    with pytest.raises(FrozenInstanceError):
        RECORD.key = "b"
    with pytest.raises(FrozenInstanceError):
        del RECORD.key


def test_it_is_equal_to_its_like_and_has_its_hash():
    again = Record(key="a", name="b", position=3, started_at=NOW, completed_at=NOW, duration_ms=1)
    assert (again == RECORD, hash(again) == hash(RECORD), again is RECORD) == (True, True, False)
    assert replace(RECORD, key="c") != RECORD
    assert type(RECORD) is Record


def test_it_can_be_replaced_copied_and_pickled():
    assert replace(RECORD, key="c").key == "c"
    assert copy.copy(RECORD) == pickle.loads(pickle.dumps(RECORD)) == RECORD


@pytest.mark.parametrize("fields", [{}, {"key": "a"}, {"unknown": 1}])
def test_what_is_missing_or_unknown_is_refused(fields):
    with pytest.raises(TypeError):
        Record(**fields)
