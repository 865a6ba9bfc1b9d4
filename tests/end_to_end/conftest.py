"""What the end-to-end tests share: the programs that a test, or a module of tests, has started."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.processes import Processes, need_node, need_typescript


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    with Processes(tmp_path) as started:
        yield started


@pytest.fixture(scope="module")
def shared_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    with Processes(tmp_path_factory.mktemp("shared")) as started:
        yield started


@pytest.fixture(scope="session", params=["python", "typescript"])
def kit(request: pytest.FixtureRequest) -> str:
    """Each kit in turn."""
    if request.param == "typescript":
        need_typescript()
    return str(request.param)


@pytest.fixture(scope="session")
def node() -> None:
    """Node is there."""
    need_node()
