from dataclasses import fields
from datetime import timedelta

import pytest

from pylon_workflows.errors import InvalidInputError
from pylon_workflows.settings import EngineSettings


def test_the_defaults_are_those_that_the_documentation_names():
    settings = EngineSettings()
    assert (settings.shutdown_grace_s, settings.retain_finished_for) == (20.0, timedelta(days=30))
    assert (settings.max_input_bytes, settings.max_event_bytes) == (1024 * 1024, 256 * 1024)
    assert (settings.max_records, settings.max_history_bytes, settings.max_history) == (10_000, 50_000_000, None)


@pytest.mark.parametrize(
    "name", ["max_in_flight", "max_queued", "max_live_instances", "max_live_bytes", "max_records", "max_history_bytes"]
)
def test_a_bound_below_one_is_refused(name):
    with pytest.raises(InvalidInputError, match=f"{name}: must be at least 1, not 0"):
        EngineSettings(**{name: 0})
    EngineSettings(**{name: 1})


@pytest.mark.parametrize(
    ("name", "value"),
    [("shutdown_grace_s", -0.1), ("max_history", -1), ("retain_finished_for", timedelta(seconds=-1))],
)
def test_a_negative_number_is_refused(name, value):
    with pytest.raises(InvalidInputError, match=f"{name}: must not be negative"):
        EngineSettings(**{name: value})


def test_nothing_and_for_ever_are_allowed():
    EngineSettings(shutdown_grace_s=0, max_history=0, retain_finished_for=timedelta(0))
    EngineSettings(retain_finished_for=None)


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("retain_finished_for", "7d", "a timedelta or None, not '7d'"),
        ("retain_finished_for", 7, "a timedelta or None, not 7"),
        ("keep_published_for", None, "a timedelta, not None"),
        ("shutdown_grace_s", "20s", "a number of seconds, not '20s'"),
        ("shutdown_grace_s", timedelta(seconds=20), r"a number of seconds, not datetime\.timedelta\(seconds=20\)"),
        ("shutdown_grace_s", True, "a number of seconds, not True"),
        ("shutdown_grace_s", float("nan"), "a number of seconds, not nan"),
        ("forward_timeout_s", None, "a number of seconds, not None"),
        ("max_in_flight", "64", "a whole number, not '64'"),
        ("max_in_flight", 2.5, "a whole number, not 2.5"),
        ("max_in_flight", float("inf"), "a whole number, not inf"),
        ("max_in_flight", True, "a whole number, not True"),
        ("max_history", "forever", "a whole number or None, not 'forever'"),
        ("has_discovery", "false", "true or false, not 'false'"),
        ("has_discovery", 0, "true or false, not 0"),
        ("hooks_url", 5, "a text or None, not 5"),
        ("hooks_url", ["https://app.example"], "a text or None, not list"),
    ],
)
def test_a_value_of_another_type_is_refused_with_its_name_and_what_it_should_be(name, value, wanted):
    with pytest.raises(InvalidInputError, match=f"^{name}: must be {wanted}$"):
        EngineSettings(**{name: value})


def test_no_field_is_taken_without_a_look_at_its_type():
    for field in fields(EngineSettings):
        with pytest.raises(InvalidInputError, match=f"^{field.name}: must be .*, not object$"):
            EngineSettings(**{field.name: object()})


def test_whole_numbers_are_seconds_too_and_a_time_may_be_without_end():
    settings = EngineSettings(shutdown_grace_s=5, forward_timeout_s=float("inf"))
    assert (settings.shutdown_grace_s, settings.forward_timeout_s) == (5, float("inf"))
