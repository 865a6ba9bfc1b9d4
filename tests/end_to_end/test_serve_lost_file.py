"""`serve` as a process of its own, whose file is taken from it."""

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_serve_ends_with_a_failure_and_the_sentence(tmp_path):
    path = tmp_path / "workflows.db"
    command = [sys.executable, "-m", "pylon_workflows", "serve", "--port", "0", "--db", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as serving:
        assert serving.stdout.readline().startswith("listening on ")
        path.unlink()
        _, told = serving.communicate(timeout=60)  # that it takes two seconds of its clock is in test_lost_file.py
    assert serving.returncode == 1
    assert told.splitlines()[-1].startswith("Error: ")
    assert f"{path} was removed while the engine ran" in told
    assert "Traceback" not in told
