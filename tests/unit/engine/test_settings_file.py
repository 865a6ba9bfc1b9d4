import dataclasses
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pylon_workflows.errors import InvalidInputError
from pylon_workflows.settings import EngineSettings
from pylon_workflows.settings_file import load_settings

EVERYTHING = """
max_in_flight = 1
max_queued = 2
max_live_instances = 3
max_live_bytes = 4
shutdown_grace_s = 5
forward_timeout_s = 6.5
has_discovery = false
retain_finished_for = "forever"
max_history = 7
max_input_bytes = 8
max_event_bytes = 9
max_unread_events = 10
max_kept_events = 11
keep_published_for = "1h30m"
max_records = 12
max_history_bytes = 13
hooks_url = "https://app.example/hooks"
"""


def load(folder: Path, text: str) -> dict[str, Any]:
    file = folder / "settings.toml"
    file.write_text(text)
    return load_settings(file)


def test_every_setting_can_stand_in_the_file(tmp_path: Path) -> None:
    settings = load(tmp_path, EVERYTHING)
    assert list(settings) == [field.name for field in dataclasses.fields(EngineSettings)]
    made = EngineSettings(**settings)
    assert dataclasses.astuple(made) == (
        1, 2, 3, 4, 5, 6.5, False, None, 7, 8, 9, 10, 11, timedelta(hours=1.5), 12, 13, "https://app.example/hooks",
    )  # fmt: skip


def test_what_has_no_limit_lasts_forever(tmp_path: Path) -> None:
    assert load(tmp_path, 'max_history = "forever"') == {"max_history": None}


def test_nothing_need_stand_in_it(tmp_path: Path) -> None:
    assert load(tmp_path, "") == {}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("max_in_fligth = 1", r"'max_in_fligth' is no setting; there are max_in_flight, "),
        ("[engine]\nmax_in_flight = 1", "'engine' is no setting"),
        ("max_in_flight = true", "max_in_flight: must be a whole number, not True"),
        ("max_in_flight = 1.5", "max_in_flight: must be a whole number, not 1.5"),
        ('max_in_flight = "1"', "max_in_flight: must be a whole number, not '1'"),
        ('max_queued = "forever"', "max_queued: must be a whole number, not 'forever'"),
        ("shutdown_grace_s = false", "shutdown_grace_s: must be a number of seconds, not False"),
        ('has_discovery = "no"', "has_discovery: must be true or false, not 'no'"),
        ("hooks_url = 1", "hooks_url: must be a text, not 1"),
        ("retain_finished_for = 7", "retain_finished_for: must be a duration as a text, such as '7d', not 7"),
        ('retain_finished_for = "abc"', "retain_finished_for: .*abc"),
        ('keep_published_for = "forever"', "keep_published_for: .*forever"),
        ("max_in_flight =", "not TOML: "),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(InvalidInputError, match=f"settings.toml: {sentence}"):
        load(tmp_path, text)


def test_a_time_that_is_no_number_is_refused(tmp_path: Path) -> None:
    for name in ("shutdown_grace_s", "forward_timeout_s"):
        with pytest.raises(InvalidInputError, match=f"{name}: must .* not nan"):
            EngineSettings(**load(tmp_path, f"{name} = nan"))
