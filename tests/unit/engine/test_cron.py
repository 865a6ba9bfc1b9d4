"""When a cron text ticks: its fields, time zones, and the two nights a year on which a clock is changed."""

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pylon_workflows.cron import Cron
from pylon_workflows.errors import InvalidInputError

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "America/Santiago", "Asia/Kolkata", "Pacific/Chatham"]
TEXTS = [
    "* * * * *", "*/15 * * * *", "30 * * * *", "0 9 * * *", "30 2 * * *", "0,45 2,3 * * *", "0 0 * * *", "5 4 * * 1-5",
    "0 0 1 * *", "0 0 L * *", "0 12 * * MON#2", "59 23 31 12 *", "0 0 29 2 *", "*/7 1-3 * * *",
]  # fmt: skip


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def ticks(cron: str, zone: str, after: str, count: int) -> list[datetime]:
    found, moment = [], at(after)
    for _ in range(count):
        moment = Cron(cron, zone).next_after(moment)
        found.append(moment)
    return found


@pytest.mark.parametrize(
    ("text", "after", "expected"),
    [
        ("0 9 * * *", "2026-11-21T08:59:59Z", "2026-11-21T09:00:00Z"),
        ("0 9 * * *", "2026-11-21T09:00:00Z", "2026-11-22T09:00:00Z"),
        ("*/20 * * * *", "2026-11-21T09:20:00.000001Z", "2026-11-21T09:40:00Z"),
        ("0 9 * * MON-FRI", "2026-11-20T09:00:00Z", "2026-11-23T09:00:00Z"),
        ("0 0 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
        ("0 0 L 2 *", "2026-01-01T00:00:00Z", "2026-02-28T00:00:00Z"),
        ("0 0 1,15 * WED", "2026-06-01T00:00:00Z", "2026-06-03T00:00:00Z"),
        ("0  12 1 jan sun", "2026-01-01T00:00:00Z", "2026-01-01T12:00:00Z"),
    ],
)
def test_the_next_tick_is_the_first_one_later(text, after, expected):
    assert Cron(text, "UTC").next_after(at(after)) == at(expected)


def test_the_time_zones_own_day_begins_its_day():
    assert ticks("0 0 * * *", "Asia/Kolkata", "2026-11-21T00:00:00Z", 1) == [at("2026-11-21T18:30:00Z")]


class TestTheNightOnWhichTheClockIsSetForward:
    """In Berlin on 2026-03-29 it is 03:00 right after 01:59:59."""

    def test_a_time_that_there_is_not_ticks_right_after_the_gap_and_once(self):
        assert ticks("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2) == [
            at("2026-03-29T03:00:00+02:00"),
            at("2026-03-30T02:30:00+02:00"),
        ]
        assert ticks("0,30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2) == [
            at("2026-03-29T03:00:00+02:00"),
            at("2026-03-30T02:00:00+02:00"),
        ]

    def test_an_hourly_tick_comes_every_real_hour(self):
        assert ticks("30 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", 3) == [
            at("2026-03-29T01:30:00+01:00"),
            at("2026-03-29T03:30:00+02:00"),
            at("2026-03-29T04:30:00+02:00"),
        ]

    def test_a_day_that_begins_with_a_gap_ticks_at_its_first_moment(self):
        assert ticks("0 0 * * *", "Africa/Cairo", "2026-04-23T12:00:00Z", 1) == [at("2026-04-24T01:00:00+03:00")]


class TestTheNightOnWhichTheClockIsSetBack:
    """In Berlin on 2026-10-25 the hour from 02:00 to 03:00 comes twice."""

    def test_a_time_that_comes_twice_ticks_the_first_time_only(self):
        assert ticks("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2) == [
            at("2026-10-25T02:30:00+02:00"),
            at("2026-10-26T02:30:00+01:00"),
        ]

    def test_nor_does_it_tick_for_whoever_asks_in_the_second_of_the_two_hours(self):
        for minute in (0, 15, 29, 30, 31, 59):
            (tick,) = ticks("30 2 * * *", "Europe/Berlin", f"2026-10-25T02:{minute:02d}:00+01:00", 1)
            assert tick == at("2026-10-26T02:30:00+01:00")

    def test_an_hourly_tick_comes_in_both_hours(self):
        assert ticks("30 * * * *", "Europe/Berlin", "2026-10-24T23:45:00Z", 3) == [
            at("2026-10-25T02:30:00+02:00"),
            at("2026-10-25T02:30:00+01:00"),
            at("2026-10-25T03:30:00+01:00"),
        ]


MOMENTS = st.one_of(
    st.timedeltas(timedelta(0), timedelta(days=366)).map(lambda off: at("2026-01-01T00:00:00Z") + off),
    *(
        st.timedeltas(timedelta(hours=-30), timedelta(hours=30)).map(lambda off, night=night: at(night) + off)
        for night in ("2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z", "2026-03-08T07:00:00Z", "2026-11-01T06:00:00Z")
    ),
)


@given(text=st.sampled_from(TEXTS), zone=st.sampled_from(ZONES), moment=MOMENTS)
def test_the_last_tick_until_a_moment_is_the_one_before_the_next(text, zone, moment):
    cron = Cron(text, zone)
    tick = cron.next_after(moment)
    following = cron.next_after(tick)
    assert moment < tick < following
    assert tick.microsecond == tick.second == 0
    for later in (tick, tick + (following - tick) / 2, following - timedelta(microseconds=1)):
        assert cron.last_until(later) == tick
    assert cron.last_until(following) == following


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "should have five fields"),
        ("0 9 * *", "should have five fields"),
        ("0 0 9 * * *", "should have five fields"),
        ("@daily", "should have five fields"),
        ("60 * * * *", "bad minute"),
        ("² * * * *", "bad minute"),
        ("*/0 * * * *", "bad minute"),
        ("0 24 * * *", "bad hour"),
        ("0 0 0 * *", "bad day-of-month"),
        ("0 0 30 2 *", "bad day-of-month"),
        ("0 0 * 13 *", "bad month"),
        ("0 0 * * MON#6", "bad day-of-week"),
        ("0 0 * * L", "bad day-of-week"),
        ("0 0 */20 * 1L", "never ticks"),
        ("9" * 257, "at most 256 characters"),
        ("0 9 * * \0", "at most 256 characters"),
        (9, "at most 256 characters"),
    ],
)
def test_what_is_no_cron_text_is_refused_and_says_why(text, sentence):
    with pytest.raises(InvalidInputError, match=f"^cron: .*{sentence}"):
        Cron(text, "UTC")


@pytest.mark.parametrize(
    "zone", ["", "Mars/Olympus", "Europe", "europe", "../../etc/passwd", "/etc/localtime", "a\0b", "x" * 300, None, 3]
)
def test_what_is_no_time_zone_is_refused_and_named(zone):
    shown = re.escape(f"{zone!r:.140}")
    with pytest.raises(InvalidInputError, match=f"^timezone: {shown} is no time zone"):
        Cron("0 9 * * *", zone)


@pytest.mark.parametrize("text", ["* * */20 * 1L", "0 0 */30 */6 1L", "59 23 L 2 MON#5"])
def test_a_text_that_ticks_never_or_hardly_ever_is_judged_at_once(text):
    began = datetime.now(UTC)
    with suppress(InvalidInputError):
        Cron(text, "Europe/Berlin")
    assert datetime.now(UTC) - began < timedelta(seconds=1)
