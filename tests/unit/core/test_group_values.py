"""A group is a value: a version reads as it did when it was made, whatever became of its members since."""

import time

import pytest
from histories import at

from pylon_workflows.core.groups import Group
from pylon_workflows.core.transitions import GroupStarted
from runner_protocol.strict_json import encode


def group(count=4, **changes):
    fields = {"kind": "map", "key": "m", "name": "m", "fail_fast": True, "max_in_flight": 10}
    return Group(GroupStarted(at=at(0), members_json=encode(list(range(count))), **{**fields, **changes}))


def facts(each):
    counts = (each.succeeded_count, each.failed_count, each.unfinished_count)
    return counts, [each.standing(index) for index in range(each.total)], each.next_retry_at(), each.due_at


def test_a_change_leaves_the_older_version_as_it_was():
    versions = [group()]
    versions.append(versions[-1].with_retry(1, 1, "no", at(9)))
    versions.append(versions[-1].with_success(0, b"0"))
    versions.append(versions[-1].with_retry(2, 1, "no", at(5)))
    versions.append(versions[-1].with_retry(1, 2, "no again", at(20)))
    versions.append(versions[-1].with_retry(3, 1, "no", at(7)))
    seen = [facts(version) for version in versions]
    newest = versions[-1].woken(at(6)).with_failure(2, 2, "never").with_success(1, b"1")
    assert [facts(version) for version in versions] == seen
    assert [each[2] for each in seen] == [None, at(9), at(9), at(5), at(5), at(5)]
    assert [each[3] for each in seen] == [None, None, None, None, None, at(5)]
    assert facts(newest)[0] == (2, 1, 1)
    assert newest.next_retry_at() == at(7)


def test_a_change_of_an_older_version_makes_a_branch_and_disturbs_no_other():
    one = group().with_retry(0, 1, "no", at(9)).with_success(3, b"3")
    left = one.with_success(1, b"left").with_failure(0, 2, "left")
    right = one.with_retry(1, 1, "right", at(5))
    assert (left.standing(1).output_json, right.standing(1).last_error) == (b"left", "right")
    assert (left.failed_count, right.failed_count) == (1, 0)
    assert (left.next_retry_at(), right.next_retry_at(), one.next_retry_at()) == (None, at(5), at(9))
    again = one.woken(at(9))
    assert (again.retry_at(0), right.retry_at(0), one.retry_at(0)) == (None, at(9), at(9))


def test_a_time_that_has_been_overtaken_is_passed_over():
    one = group().with_retry(0, 1, "no", at(5)).with_retry(0, 2, "no", at(50)).with_retry(1, 1, "no", at(9))
    assert one.next_retry_at() == at(9)
    assert one.woken(at(8)) == one
    assert one.woken(at(9)).next_retry_at() == at(50)


def test_groups_with_the_same_standings_are_equal_however_they_were_made():
    one = group().with_success(0, b"0").with_retry(1, 1, "no", at(5))
    other = group().with_retry(1, 1, "no", at(5)).with_success(0, b"0")
    assert one == other
    assert hash(one) == hash(other)
    assert one != one.with_success(2, b"2")
    assert one != group(3)
    assert one != 5
    assert repr(one) == "Group('m', 1 succeeded and 0 failed of 4)"


def test_a_member_that_there_is_not_has_no_standing():
    for index in (-1, 4):
        with pytest.raises(IndexError):
            group().standing(index)


def test_the_size_is_that_of_inputs_and_outputs():
    one = group()
    assert one.size == len(b"[0,1,2,3]")
    assert one.with_success(0, b'"12"').size == one.size + 4


def test_the_outputs_of_members_that_have_none_are_null():
    assert group(2).with_success(1, b"1").output_json == b"[null,1]"
    named = Group(
        GroupStarted(
            at=at(0),
            kind="parallel",
            key="p",
            name="p",
            fail_fast=True,
            max_in_flight=1,
            members_json=b'[["\\u00e9\\"",1]]',
        )
    )
    assert named.with_success(0, b"{}").output_json == '{"é\\"":{}}'.encode()


def test_a_member_costs_the_same_among_ten_thousand_as_among_a_hundred():
    def cost(count):
        best = None
        for _ in range(2):
            each = group(count)
            began = time.process_time()
            for index in range(count):
                each = each.with_retry(index, 1, "no", at(index))
            each = each.woken(at(count))
            for index in range(count):
                each = each.with_success(index, b"1")
            spent = (time.process_time() - began) / count
            best = spent if best is None else min(best, spent)
        return best

    assert cost(10_000) < cost(100) * 12  # were it linear in the number of members, it would be a hundred
