"""`make conformance`: plays the cases on both kits' runners and, as far as they concern it, on the plain example.

Without Node only the Python kit is checked, and says so; with CI=1 that is a failure. The last line is the summary.
"""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from runner_protocol.conformance.cases import Profile, choose_cases, load_cases
from runner_protocol.conformance.checker import Outcome, check
from runner_protocol.conformance.exchange import HttpExchange
from runner_protocol.conformance.report import outcome_lines, summary

ROOT = Path(__file__).resolve().parents[2]
TYPESCRIPT = Path(__file__).with_name("typescript")
KIT = ROOT / "runner_protocol" / "typescript"
READY_WITHIN_S = 60
REPLY_WITHIN_S = 20
OLDEST_NODE = 20
LISTENING = "runner listening on "


@dataclass(frozen=True)
class Candidate:
    """A runner to check: its words for people, how it is started, and the cases that concern it."""

    title: str
    command: tuple[str, ...]
    profile: Profile
    needs_node: bool


CANDIDATES = (
    Candidate("the Python kit", (sys.executable, "-m", "runner_protocol.conformance.python_runner", "0"), "kit", False),
    Candidate("the TypeScript kit", ("node", str(TYPESCRIPT / "dist" / "runner.js")), "kit", True),
    Candidate(
        "plain JavaScript", ("node", str(ROOT / "examples" / "plain_node" / "runner.mjs"), "--port", "0"), "plain", True
    ),
)


def main() -> int:
    """Check every runner that can be started here; returns the exit status."""
    has_node = is_node_there()
    if has_node:
        build_typescript()
    outcomes: list[Outcome] = []
    for candidate in CANDIDATES:
        if candidate.needs_node and not has_node:
            say(f"{candidate.title}: left out, for there is no Node 20 or later on the PATH")
            continue
        with started(candidate.command) as url:
            cases = choose_cases(load_cases(), [], candidate.profile)
            found = list(check(cases, HttpExchange(url, timeout_s=REPLY_WITHIN_S)))
        for outcome in found:
            if not outcome.has_passed:
                say(*outcome_lines(outcome))
        say(f"{candidate.title}: {summary(found)}")
        outcomes += found
    say(summary(outcomes))
    is_incomplete = not has_node and os.environ.get("CI") == "1"
    return 0 if all(outcome.has_passed for outcome in outcomes) and not is_incomplete else 1


def is_node_there() -> bool:
    """Whether the PATH has a Node that the TypeScript kit supports."""
    if shutil.which("node") is None:
        return False
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    return int(version.removeprefix("v").split(".")[0]) >= OLDEST_NODE


def build_typescript() -> None:
    """Build the kit and its runner where nobody has; `make` does it beforehand and sees what has changed."""
    for folder, built in ((KIT, "index.js"), (TYPESCRIPT, "runner.js")):
        if not (folder / "dist" / built).exists():
            subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund"], cwd=folder, check=True)
            subprocess.run(["npm", "run", "--silent", "build"], cwd=folder, check=True)


@contextmanager
def started(command: Sequence[str]) -> Iterator[str]:
    """Start a runner on a port that the system chooses, and give its URL; it is stopped in the end."""
    environment = {name: value for name, value in os.environ.items() if name != "PYLON_WORKFLOW_RUNNER_URL"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT) as process:
        impatience = threading.Timer(READY_WITHIN_S, process.kill)
        impatience.start()
        try:
            url = listening_url(process)
            impatience.cancel()
            yield url
        finally:
            impatience.cancel()
            process.kill()


def listening_url(process: subprocess.Popen[str]) -> str:
    """Read what the runner says until it says where it listens."""
    for line in process.stdout or ():
        if line.startswith(LISTENING):
            return line.removeprefix(LISTENING).strip()
    raise SystemExit(f"{process.args!r} ended, or did not begin to listen within {READY_WITHIN_S} s")


def say(*lines: str) -> None:
    """Write lines at once, so that they stand in order with what the runners write."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
