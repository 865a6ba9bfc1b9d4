"""A process has at most one engine on a file, whatever its role and whatever the file is called."""

import os

import pytest

from pylon_workflows.errors import DatabaseInUseHereError
from pylon_workflows.ownership import registry


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "workflows.db"
    key = registry.enter(path, "engine")
    yield path
    registry.leave(key)


def test_a_second_engine_is_told_to_use_the_first(path):
    with pytest.raises(DatabaseInUseHereError, match="in use by another engine in this process") as refusal:
        registry.enter(path, "another")
    assert "use that engine, or close it first" in str(refusal.value)


def test_an_engine_that_is_entered_twice_is_told_so(path):
    with pytest.raises(DatabaseInUseHereError, match="this engine runs already"):
        registry.enter(path, "engine")


def test_a_symbolic_link_leads_to_the_same_file_even_before_it_is_there(path, tmp_path):
    (tmp_path / "link.db").symlink_to(path)
    with pytest.raises(DatabaseInUseHereError):
        registry.enter(tmp_path / "link.db", "another")


def test_a_hard_link_leads_to_the_same_file_and_is_not_remembered(path, tmp_path):
    path.touch()
    (tmp_path / "second.db").hardlink_to(path)
    for _ in range(2):
        with pytest.raises(DatabaseInUseHereError, match=r"second\.db is in use by another engine in this process"):
            registry.enter(tmp_path / "second.db", "another")
    (tmp_path / "second.db").unlink()
    registry.leave(registry.enter(tmp_path / "second.db", "another"))


def test_two_files_have_an_engine_each(path, tmp_path):
    registry.leave(registry.enter(tmp_path / "other.db", "another"))


def test_a_file_that_was_left_may_be_entered_again(tmp_path):
    for _ in range(2):
        registry.leave(registry.enter(tmp_path / "other.db", "engine"))


def test_a_forked_child_may_have_an_engine_on_its_parents_file(tmp_path):
    path = tmp_path / "other.db"
    key = registry.enter(path, "engine")
    registry._entered[key] = (os.getpid() + 1, object())  # as a child finds it
    assert registry.enter(path, "engine") == key
    registry.leave(key)
