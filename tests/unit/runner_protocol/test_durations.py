"""Durations as the wire writes them (PROTOCOL.md section 2)."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runner_protocol.durations import MAX_DURATION, DurationError, format_duration, parse_duration


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("30s", timedelta(seconds=30)),
        ("5m", timedelta(minutes=5)),
        ("24h", timedelta(hours=24)),
        ("7d", timedelta(days=7)),
        ("2w", timedelta(weeks=2)),
        ("500ms", timedelta(milliseconds=500)),
        ("1.5s", timedelta(seconds=1.5)),
        ("1h30m", timedelta(minutes=90)),
        ("1m500ms", timedelta(minutes=1, milliseconds=500)),
        ("1w2d3h4m5s6ms", timedelta(weeks=1, days=2, hours=3, minutes=4, seconds=5, milliseconds=6)),
        (" 10s ", timedelta(seconds=10)),
        ("PT5M", timedelta(minutes=5)),
        ("P1DT12H", timedelta(hours=36)),
        ("P2W", timedelta(weeks=2)),
        ("PT0.5S", timedelta(seconds=0.5)),
        ("90", timedelta(seconds=90)),
        ("1.5", timedelta(seconds=1.5)),
        (90, timedelta(seconds=90)),
        (0, timedelta(0)),
        (1.5, timedelta(seconds=1.5)),
        (0.1, timedelta(milliseconds=100)),
        ("36525d", MAX_DURATION),
    ],
)
def test_a_duration_is_read(written: str | float, meant: timedelta) -> None:
    assert parse_duration(written) == meant


@pytest.mark.parametrize(
    "written",
    [
        "",
        " ",
        "soon",
        "5 m",
        "5M",
        "1s1s",
        "30m1h",
        "1e3",
        "0x10",
        "+5s",
        "٣s",
        "5s\x00",
        "1.5.5s",
        ".5s",
        "5.s",
        "P",
        "PT",
        "P1DT",
        "P1Y",
        "P1M",
        "pt5m",
        "1" * 19 + "s",
    ],
)
def test_anything_else_is_refused(written: str) -> None:
    with pytest.raises(DurationError, match="is no duration"):
        parse_duration(written)


@pytest.mark.parametrize("number", [-1, -0.001, float("-1e-6")])
def test_a_negative_number_is_refused(number: float) -> None:
    with pytest.raises(DurationError, match="must not be negative"):
        parse_duration(number)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_not_finite_is_refused(number: float) -> None:
    with pytest.raises(DurationError, match="must be finite"):
        parse_duration(number)


@pytest.mark.parametrize("written", ["36525d1ms", "99999w", "1" * 18 + "w", 1e300, 2**63, "P9999999W"])
def test_more_than_a_hundred_years_is_refused(written: str | float) -> None:
    with pytest.raises(DurationError, match="at most 100 years"):
        parse_duration(written)


@pytest.mark.parametrize("value", [True, False, None, [], {}, b"5s", timedelta(1)])
def test_another_type_is_refused(value: Any) -> None:
    with pytest.raises(DurationError, match="a text such as"):
        parse_duration(value)


@given(st.text(max_size=12))
@example("1" * 18)
def test_a_text_is_read_or_refused_and_nothing_else_happens(text: str) -> None:
    try:
        length = parse_duration(text)
    except DurationError:
        return
    assert timedelta(0) <= length <= MAX_DURATION


@given(st.timedeltas(timedelta(0), MAX_DURATION))
def test_what_is_written_reads_back_equal(length: timedelta) -> None:
    assert parse_duration(format_duration(length)) == length


@pytest.mark.parametrize(
    ("length", "written"),
    [
        (timedelta(0), "0s"),
        (timedelta(hours=24), "1d"),
        (timedelta(minutes=90), "1h30m"),
        (timedelta(milliseconds=1500), "1s500ms"),
        (timedelta(microseconds=1), "0.001ms"),
    ],
)
def test_a_duration_is_written_in_its_shortest_exact_form(length: timedelta, written: str) -> None:
    assert format_duration(length) == written


def test_a_negative_duration_cannot_be_written() -> None:
    with pytest.raises(DurationError, match="must not be negative"):
        format_duration(timedelta(seconds=-1))
