from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result
from local_server import LocalServer, Run

from pylon_workflows.cli import main


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer() as server:
        yield server


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command line; `input` is its standard input."""
    monkeypatch.delenv("PYLON_WORKFLOW_URL", raising=False)
    monkeypatch.delenv("PYLON_WORKFLOW_TOKEN", raising=False)

    def run(*arguments: str, url: str | None = None, input: str | bytes | None = None) -> Result:
        more = [] if url is None else ["--url", url]
        return CliRunner().invoke(main, [*arguments, *more], input=input)

    return run
