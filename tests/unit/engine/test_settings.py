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
