"""Whatever fits the API's own document, or nearly does, is answered as the document says, and never with a 5xx."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from openapi_spec_validator import validate

from tests.end_to_end.processes import COMMAND, Processes

ROOT = Path(__file__).resolve().parents[2]
NOT_TOLD = "positive_data_acceptance"
"""What no schema can tell: a cron text, terms that exclude each other, a revision that an instance does not have."""


def test_the_committed_document_is_fresh_and_is_openapi() -> None:
    committed = (ROOT / "docs" / "openapi.json").read_text()
    written = subprocess.run(
        (sys.executable, "-c", "from tools.write_openapi import text; print(text(), end='')"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert committed == written, "make schema"
    validate(json.loads(committed))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cases", "seed"),
    [
        (15, 1),
        pytest.param(300, None, marks=[pytest.mark.long, pytest.mark.timeout(1800)]),
    ],
)
def test_schemathesis_finds_nothing(processes: Processes, tmp_path: Path, cases: int, seed: int | None) -> None:
    seed = random.randrange(2**32) if seed is None else seed
    options = ("--no-discovery", "--runner", "http://127.0.0.1:9/run", "--db", str(tmp_path / "fuzz.db"), "--port", "0")
    process = processes.start("serve", COMMAND, "serve", *options)
    api = processes.api(process.url(), process)
    document = api.http.get("/openapi.json").json()
    # Nothing ever finishes here, so that a start would be waited for as long as the document lets it.
    document["components"]["schemas"]["StartRequest"]["properties"]["wait_s"] = {"enum": [None, 0, 0.01]}
    file = tmp_path / "openapi.json"
    file.write_text(json.dumps(document))
    tried = subprocess.run(
        (
            *(str(Path(sys.executable).parent / "schemathesis"), "run", str(file), "--url", api.url),
            *("--seed", str(seed), "--max-examples", str(cases), "--phases", "examples,coverage,fuzzing"),
            *("--exclude-path-regex", "stream$"),  # they do not end; test_api_streams.py has their bad input
            *("--exclude-checks", NOT_TOLD, "--no-color", "--generation-database", "none"),
        ),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert tried.returncode == 0, f"seed {seed}\n{tried.stdout[-8000:]}{tried.stderr[-2000:]}"
    assert "Traceback" not in api.process.said()
