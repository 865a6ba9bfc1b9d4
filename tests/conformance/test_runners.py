"""The kits and the plain example keep every rule; `make conformance` shows the same over real sockets."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runner_protocol.conformance.cases import Case, choose_cases, load_cases
from runner_protocol.conformance.checker import play
from runner_protocol.conformance.python_runner import create_runner
from runner_protocol.signing import SECRETS_VARIABLE

from .in_process import Loop, asgi_answerer
from .run_all import SECRET

RUN_ALL = Path(__file__).with_name("run_all.py")


@pytest.mark.parametrize("case", load_cases(), ids=lambda case: case.name)
def test_the_python_kit_keeps_the_rule(loop: Loop, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRETS_VARIABLE, SECRET)
    assert play(case, loop.exchange_with(asgi_answerer(create_runner().app)), SECRET) is None


@pytest.mark.parametrize("case", choose_cases(load_cases(), [], "kit"), ids=lambda case: case.name)
def test_the_python_kit_that_does_one_step_a_turn_keeps_the_rule(loop: Loop, case: Case) -> None:
    assert play(case, loop.exchange_with(asgi_answerer(create_runner(stream=False).app))) is None


@pytest.mark.slow
def test_all_runners_pass_over_http_and_the_matrix_says_so() -> None:
    command = [sys.executable, RUN_ALL, "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    passed, failed = done.stdout.splitlines()[-1].split(", ")
    assert (done.returncode, failed) == (0, "0 failed"), done.stdout + done.stderr
    assert int(passed.removesuffix(" passed")) >= len(load_cases())


@pytest.mark.slow
def test_without_node_the_report_says_what_was_left_out_and_only_ci_fails(tmp_path: Path) -> None:
    for command in ("echo", "false"):  # what the cases of `shell` run
        (tmp_path / command).symlink_to(shutil.which(command))
    for ci, status in (("", 0), ("1", 1)):
        environment = {**os.environ, "PATH": str(tmp_path), "CI": ci}
        done = subprocess.run([sys.executable, RUN_ALL], capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == status, done.stderr
        assert "TypeScript kit: left out" in done.stdout
        count = len(load_cases()) + len(choose_cases(load_cases(), [], "kit"))
        assert done.stdout.splitlines()[-1] == f"{count} passed, 0 failed"
