import resource
import subprocess
import sys

import pytest

from pylon_workflows.edge import open_files
from pylon_workflows.edge.open_files import connections_within


@pytest.mark.parametrize(
    ("limit", "connections"), [(64, 16), (256, 64), (1024, 320), (4096, 3200), (65_536, 10_000), (1_000_000, 10_000)]
)
def test_connections_leave_files_for_everything_else(limit: int, connections: int) -> None:
    assert connections_within(limit, for_runners=512) == connections
    assert connections_within(1, for_runners=512) == 1


@pytest.mark.parametrize(
    ("soft", "hard", "told"),
    [
        (256, 1024, 1024),
        (256, 10**6, 65_536),
        (256, resource.RLIM_INFINITY, 65_536),
        (100_000, 10**6, 100_000),
        (1024, 1024, 1024),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, 65_536),
    ],
)
def test_the_limit_is_raised_as_far_as_is_of_use(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, told: int
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, wanted: asked.append(wanted))
    assert open_files.raise_limit() == told
    assert asked == ([(told, hard)] if 0 <= soft < told else [])


def test_a_system_that_refuses_leaves_it_as_it_was(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: int, __: tuple[int, int]) -> None:
        raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 1024))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert open_files.raise_limit() == 256
    assert "cannot be raised from 256 to 1024" in caplog.text


def test_a_system_that_names_no_limit_and_has_one_gets_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int, wanted: tuple[int, int]) -> None:
        if wanted[0] > 20_000:
            raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert open_files.raise_limit() == 10_240


def test_a_real_process_gets_what_it_may() -> None:
    program = (
        "import resource as r; from pylon_workflows.edge.open_files import raise_limit;"
        "hard = r.getrlimit(r.RLIMIT_NOFILE)[1]; r.setrlimit(r.RLIMIT_NOFILE, (64, hard));"
        "print(raise_limit() == r.getrlimit(r.RLIMIT_NOFILE)[0] > 64)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "True\n"
