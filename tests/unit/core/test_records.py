"""Records and event ids are values: a version reads as it did when it was made, whatever was added since."""

import pytest
from histories import at

from pylon_workflows.core.event_ids import EventIds
from pylon_workflows.core.records import Record, Records


def record(key, status="completed", *, final=False, output=b"null"):
    return Record(
        key=key,
        name=key.partition("#")[0],
        status=status,
        position=None,
        started_at=at(0),
        completed_at=at(0),
        duration_ms=0,
        output_json=output,
        final=final,
    )


def test_adding_leaves_the_older_version_as_it_was():
    empty = Records()
    one = empty.add(record("a"))
    two = one.add(record("b"))
    assert (list(empty), list(one), list(two)) == ([], [record("a")], [record("a"), record("b")])
    assert (len(empty), len(one), len(two)) == (0, 1, 2)


def test_an_older_version_does_not_see_keys_taken_later():
    one = Records().add(record("a"))
    one.add(record("b")).add(record("a#2"))
    assert one.is_taken("a")
    assert not one.is_taken("b")
    assert one.free_key("a") == "a#2"


def test_an_older_version_does_not_count_failures_that_came_later():
    one = Records().add(record("a", "failed"))
    two = one.add(record("a", "failed"))
    assert (one.failures("a"), two.failures("a"), two.failures("b")) == (1, 2, 0)


def test_adding_to_an_older_version_makes_a_branch_and_disturbs_no_other():
    one = Records().add(record("a"))
    left = one.add(record("b")).add(record("b#2"))
    right = one.add(record("c"))
    assert [each.key for each in left] == ["a", "b", "b#2"]
    assert [each.key for each in right] == ["a", "c"]
    assert (left.is_taken("c"), right.is_taken("b"), right.is_taken("c")) == (False, False, True)
    assert (left.free_key("b"), right.free_key("b")) == ("b#3", "b")


def test_a_branch_may_take_a_key_that_the_other_branch_has_at_another_place():
    one = Records().add(record("a"))
    one.add(record("x")).add(record("b"))
    right = one.add(record("b"))
    assert right.is_taken("b")
    assert [each.key for each in right] == ["a", "b"]


def test_only_a_failure_that_is_retried_leaves_its_key_free():
    assert not record("a", "failed").has_taken_key
    assert record("a", "failed", final=True).has_taken_key
    assert record("a").has_taken_key
    assert record("a", "skipped").has_taken_key


def test_a_key_that_stands_twice_counts_from_where_it_stood_first():
    twice = Records([record("a"), record("b"), record("a")])
    assert twice.is_taken("a")
    assert twice.free_key("a") == "a#2"


def test_free_keys_are_found_past_a_thousand_rounds_of_a_loop():
    records = Records()
    for number in range(1, 1001):
        key = records.free_key("poll")
        assert key == ("poll" if number == 1 else f"poll#{number}")
        records = records.add(record(key))
    assert records.free_key("other") == "other"


def test_keys_that_were_taken_out_of_order_are_passed_over():
    assert Records([record("a"), record("a#3"), record("a#2")]).free_key("a") == "a#4"


def test_an_older_version_finds_its_own_free_key_although_later_ones_are_taken():
    two = Records([record("a"), record("a#2")])
    two.add(record("a#3")).add(record("a#4"))
    assert two.free_key("a") == "a#3"


def test_records_read_like_a_list():
    records = Records([record("a"), record("b"), record("c")])
    assert records[0] == record("a")
    assert records[-1] == record("c")
    assert records[1:] == [record("b"), record("c")]
    assert records[::-1] == [record("c"), record("b"), record("a")]
    assert record("b") in records
    assert records.index(record("c")) == 2
    with pytest.raises(IndexError):
        records[3]
    with pytest.raises(IndexError):
        records[-4]


def test_an_older_version_ends_where_it_ended():
    one = Records().add(record("a"))
    one.add(record("b"))
    assert one[-1] == record("a")
    assert one[:] == [record("a")]
    with pytest.raises(IndexError):
        one[1]


def test_records_with_the_same_entries_are_equal_however_they_were_made():
    grown = Records().add(record("a")).add(record("b"))
    older = grown.add(record("c"))
    assert grown == Records([record("a"), record("b")])
    assert hash(grown) == hash(Records([record("a"), record("b")]))
    assert grown != older
    assert grown != [record("a"), record("b")]
    assert repr(Records([record("a")])) == f"Records([{record('a')!r}])"


def test_a_records_output_is_a_python_value():
    assert record("a", output=b'{"id":1}').output == {"id": 1}


def test_event_ids_are_remembered_in_order_and_older_versions_do_not_see_later_ones():
    empty = EventIds()
    one = empty.add("e1")
    two = one.add("e2")
    assert (list(empty), list(one), list(two)) == ([], ["e1"], ["e1", "e2"])
    assert ("e1" in empty, "e1" in one, "e2" in one, "e2" in two) == (False, True, False, True)
    assert (len(empty), len(one), len(two)) == (0, 1, 2)


def test_adding_an_event_id_to_an_older_version_makes_a_branch():
    one = EventIds().add("e1")
    left = one.add("left").add("last")
    right = one.add("right")
    assert (list(left), list(right)) == (["e1", "left", "last"], ["e1", "right"])
    assert ("right" in left, "left" in right) == (False, False)


def test_event_ids_with_the_same_entries_are_equal():
    one = EventIds().add("e1")
    one.add("e2")
    assert one == EventIds().add("e1")
    assert hash(one) == hash(EventIds().add("e1"))
    assert one != EventIds()
    assert one != ["e1"]
    assert repr(one) == "EventIds(['e1'])"
