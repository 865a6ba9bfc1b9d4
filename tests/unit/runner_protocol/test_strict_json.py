"""JSON that is lossless or refused (PROMISES P31)."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runner_protocol.strict_json import (
    MAX_DEPTH,
    MAX_INTEGER,
    MIN_INTEGER,
    JsonError,
    NotJsonError,
    check_depth,
    encode,
    encode_parsed,
    parse,
    same_value,
)

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(MIN_INTEGER, MAX_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=20,
)


def same(first: Any, second: Any) -> bool:
    """Equal in value, type and the order of keys."""
    return repr(first) == repr(second)


@given(VALUES)
@example(-0.0)
@example(5e-324)
@example({"b": 1, "a": [MIN_INTEGER, MAX_INTEGER, 1.0]})
def test_what_is_written_reads_back_equal(value: Any) -> None:
    assert same(parse(encode(value)), value)
    assert encode_parsed(value) == encode(value)


@given(VALUES)
def test_whatever_json_writes_with_escapes_is_read(value: Any) -> None:
    assert same(parse(json.dumps(value, indent=1)), value)


@given(st.binary(max_size=40) | st.text('[]{}",:\\ue9dtrn01 ', max_size=40).map(str.encode))
def test_bytes_are_read_or_refused_and_nothing_else_happens(body: bytes) -> None:
    try:
        value = parse(body)
    except JsonError:
        return
    assert same(parse(encode(value)), value)


def test_text_and_bytes_are_read_alike() -> None:
    assert parse('{"é":1}') == parse('{"é":1}'.encode()) == {"é": 1}


@pytest.mark.parametrize("body", [b"", b" ", b"{", b"[1,]", b"{'a':1}", b"nul", b"1 2", b"<html>", b"\xff", b'"\xed"'])
def test_what_is_no_json_at_all_is_told_apart(body: bytes) -> None:
    with pytest.raises(NotJsonError):
        parse(body)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"NaN", "NaN is not JSON"),
        (b"[Infinity]", "Infinity is not JSON"),
        (b"-Infinity", "-Infinity is not JSON"),
        (b"1e999", "beyond the range of a double"),
        (str(2**64).encode(), "does not fit 64 bits"),
        (str(-(2**63) - 1).encode(), "does not fit 64 bits"),
        (b"1" * 5000, "does not fit 64 bits"),
        (b'{"a":1,"b":2,"a":3}', "the key 'a' stands twice"),
        (b'"\\ud800"', "lone surrogate"),
        (b'{"\\udfff":1}', "lone surrogate"),
    ],
)
def test_json_that_would_not_come_back_equal_is_refused(body: bytes, sentence: str) -> None:
    with pytest.raises(JsonError, match=sentence) as caught:
        parse(body)
    assert not isinstance(caught.value, NotJsonError)


def test_a_pair_of_escaped_surrogates_is_one_character() -> None:
    assert parse('"\\ud83d\\ude00"') == "😀"


def test_the_ends_of_the_integers_are_kept() -> None:
    assert parse(f"[{MIN_INTEGER},{MAX_INTEGER}]") == [MIN_INTEGER, MAX_INTEGER]


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (float("nan"), r"\$: nan is not JSON"),
        ([1, {"a": float("inf")}], r"\$\[1\]\.a: inf is not JSON"),
        (2**64, r"\$: the integer 18446744073709551616 does not fit 64 bits"),
        ({"a": {1: 2}}, r"\$\.a: the key 1 is not a string"),
        ({"a": object()}, r"\$\.a: object is no JSON type"),
        (b"bytes", r"\$: bytes is no JSON type"),
        ("\ud800", "lone surrogate"),
        ({"\udc00": 1}, "lone surrogate"),
    ],
)
def test_a_value_that_json_would_change_is_refused(value: Any, sentence: str) -> None:
    with pytest.raises(JsonError, match=sentence):
        encode(value)


def test_a_tuple_is_written_as_an_array() -> None:
    assert encode((1, [(2,)])) == b"[1,[[2]]]"


def nested(depth: int) -> Any:
    value: Any = []
    for index in range(depth - 1):
        value = [value] if index % 2 else {"a": value}
    return value


def test_depth_is_limited_both_ways() -> None:
    deepest = json.dumps(nested(MAX_DEPTH))
    assert same(parse(deepest), nested(MAX_DEPTH))
    assert encode(nested(MAX_DEPTH))
    for too_deep in (MAX_DEPTH + 1, MAX_DEPTH + 2):
        with pytest.raises(JsonError, match="nested deeper than 64"):
            parse(json.dumps(nested(too_deep)))
        with pytest.raises(JsonError, match="nested deeper than 64"):
            encode(nested(too_deep))


def test_a_cycle_is_too_deep() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(JsonError, match="nested deeper"):
        encode(cycle)


def test_brackets_in_strings_are_no_depth() -> None:
    value = {"a": '[[{{"\\', 'b"[': "]" * 100, "c": ["\\" * 3 + "[" * 100]}
    check_depth(json.dumps(value).encode(), 2)
    with pytest.raises(JsonError):
        check_depth(json.dumps(value).encode(), 1)


def test_a_text_that_a_parser_would_recurse_into_is_refused_first() -> None:
    for body in (b"[" * 1_000_000, b'{"a":' * 200_000, b"[" * 100 + b"]" * 50):
        with pytest.raises(JsonError, match="nested deeper"):
            parse(body)


def test_many_brackets_that_are_not_balanced_are_no_json() -> None:
    for body in (b"[]" * 100, b"]" * 100, b"[" + b"[]," * 100):
        with pytest.raises(NotJsonError):
            parse(body)


def test_a_limit_beyond_what_the_parser_can_do_is_still_a_json_error() -> None:
    with pytest.raises(JsonError, match="nested deeper than 1000000"):
        parse(b"[" * 100_000 + b"]" * 100_000, max_depth=1_000_000)


@given(VALUES)
def test_the_depth_is_what_walking_the_value_finds(value: Any) -> None:
    def depth(of: Any) -> int:
        members = of.values() if isinstance(of, dict) else of if isinstance(of, list) else None
        return 0 if members is None else 1 + max(map(depth, members), default=0)

    text = json.dumps(value, ensure_ascii=False).encode()
    check_depth(text, depth(value))
    if depth(value):
        with pytest.raises(JsonError):
            check_depth(text, depth(value) - 1)


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        ('{"a":1,"b":2}', '{"b":2,"a":1}', True),
        ("[1,2]", "[2,1]", False),
        ("1", "1.0", True),
        ("1", "true", False),
        ("[false]", "[0]", False),
        ('{"a":[true]}', '{"a":[true]}', True),
        ("null", "{}", False),
    ],
)
def test_values_are_compared_as_json(first: str, second: str, is_same: bool) -> None:
    assert same_value(first.encode(), second.encode()) is is_same
