import re
from datetime import timedelta

import pytest
from engine_parts import BEGINNING

from pylon_workflows.errors import InvalidInputError
from pylon_workflows.ids import RESERVED_IDS, check_instance_id, new_instance_id, new_seed


def test_a_new_id_is_a_prefix_and_26_characters():
    assert re.fullmatch(r"wf_[0-9A-HJKMNP-TV-Z]{26}", new_instance_id(BEGINNING))
    assert check_instance_id(new_instance_id(BEGINNING))


def test_ids_sort_by_age():
    ids = [new_instance_id(BEGINNING + timedelta(milliseconds=number)) for number in range(200)]
    assert ids == sorted(ids)


def test_ids_of_one_millisecond_differ_in_80_random_bits():
    ids = {new_instance_id(BEGINNING) for _ in range(1000)}
    assert len(ids) == 1000
    assert len({each[:13] for each in ids}) == 1


def test_a_seed_is_32_hex_digits_and_each_is_another():
    assert re.fullmatch(r"[0-9a-f]{32}", new_seed())
    assert new_seed() != new_seed()


@pytest.mark.parametrize("value", ["a", "ship-7", "A_b.c:d-0", "x" * 128, "starter", "..."])
def test_an_id_that_a_caller_chose_is_taken_as_it_is(value):
    assert check_instance_id(value) == value


@pytest.mark.parametrize("value", ["", "x" * 129, "a b", "a/b", "ä", "a\n", "a%20", "😀"])
def test_other_characters_and_lengths_are_refused(value):
    with pytest.raises(InvalidInputError, match="id: "):
        check_instance_id(value)


@pytest.mark.parametrize("value", [*sorted(RESERVED_IDS), "Definitions", "START", ".", ".."])
def test_words_that_stand_in_routes_are_refused(value):
    with pytest.raises(InvalidInputError, match="reserved word"):
        check_instance_id(value)
