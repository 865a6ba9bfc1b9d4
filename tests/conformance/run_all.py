"""`make conformance`: plays the cases on every runner of the repository, as far as they concern it.

Those are both kits, streaming and not, and the examples without a kit. What cannot be started here (there is no Node,
no Go) is left out and said so; with CI=1 that is a failure. The last line is the summary. `--write` writes down what
came of it as CONFORMANCE.md, `--check` compares it with that.
"""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runner_protocol.conformance.cases import Profile, choose_cases, load_cases
from runner_protocol.conformance.checker import Outcome, check
from runner_protocol.conformance.exchange import HttpExchange
from runner_protocol.conformance.report import matrix, outcome_lines, summary
from runner_protocol.signing import SECRETS_VARIABLE

ROOT = Path(__file__).resolve().parents[2]
TYPESCRIPT = Path(__file__).with_name("typescript")
GO = ROOT / "examples" / "go_runner"
KIT = ROOT / "runner_protocol" / "typescript"
REPORT = ROOT / "CONFORMANCE.md"
READY_WITHIN_S = 60
REPLY_WITHIN_S = 20
OLDEST_NODE = 20
LISTENING = "runner listening on "
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@dataclass(frozen=True)
class Candidate:
    """A runner to check: its words for people, how it is started, and the cases that concern it."""

    title: str
    command: tuple[str, ...]
    profile: Profile
    needs: Literal["node", "go"] | None = None
    is_signed: bool = False


_PYTHON = (sys.executable, "-m", "runner_protocol.conformance.python_runner")
_TYPESCRIPT = ("node", str(TYPESCRIPT / "dist" / "runner.js"))
_JAVASCRIPT = ("node", str(ROOT / "examples" / "plain_node" / "runner.mjs"), "--port", "0")

CANDIDATES = (
    Candidate("Python kit", _PYTHON, "stream", is_signed=True),
    Candidate("Python kit, one step a turn", (*_PYTHON, "--no-stream"), "kit"),
    Candidate("TypeScript kit", _TYPESCRIPT, "stream", "node", is_signed=True),
    Candidate("TypeScript kit, one step a turn", (*_TYPESCRIPT, "--no-stream"), "kit", "node"),
    Candidate("plain JavaScript", _JAVASCRIPT, "plain", "node"),
    Candidate("plain Go", (str(GO / "build" / "runner"), "-port", "0"), "plain", "go"),
)


def main(arguments: Sequence[str] = ()) -> int:
    """Check every runner that can be started here; returns the exit status."""
    there = {"node": is_node_there(), "go": shutil.which("go") is not None}
    found: dict[str, list[Outcome]] = {}
    for candidate in CANDIDATES:
        if candidate.needs is not None and not there[candidate.needs]:
            say(f"{candidate.title}: left out, for there is {MISSING[candidate.needs]} on the PATH")
            continue
        BUILDS.get(candidate.needs, lambda: None)()
        secret = SECRET if candidate.is_signed else None
        with started(candidate.command, secret) as url:
            cases = choose_cases(load_cases(), [], candidate.profile, is_signed=candidate.is_signed)
            outcomes = list(check(cases, HttpExchange(url, timeout_s=REPLY_WITHIN_S), secret))
        say(*(line for outcome in outcomes if not outcome.has_passed for line in outcome_lines(outcome)))
        say(f"{candidate.title}: {summary(outcomes)}")
        found[candidate.title] = outcomes
    is_whole = len(found) == len(CANDIDATES)
    is_right = is_whole or os.environ.get("CI") != "1"
    if is_whole and arguments:
        is_right = kept_or_written(matrix(found), is_written="--write" in arguments)
    every = [outcome for outcomes in found.values() for outcome in outcomes]
    say(summary(every))
    return 0 if is_right and all(outcome.has_passed for outcome in every) else 1


def kept_or_written(text: str, *, is_written: bool) -> bool:
    """Write CONFORMANCE.md, or say whether it is what has been found now."""
    if is_written:
        REPORT.write_text(text, encoding="utf-8")
    is_fresh = REPORT.exists() and REPORT.read_text(encoding="utf-8") == text
    if not is_fresh:
        say(f"{REPORT.name} is stale: run `python tests/conformance/run_all.py --write`")
    return is_fresh


def is_node_there() -> bool:
    """Whether the PATH has a Node that the TypeScript kit supports."""
    if shutil.which("node") is None:
        return False
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    return int(version.removeprefix("v").split(".")[0]) >= OLDEST_NODE


def build_go() -> None:
    """Build the runner without a kit in Go."""
    environment = {**os.environ, "GOFLAGS": "-mod=mod", "GOPROXY": "off"}
    subprocess.run(["go", "build", "-o", "build/runner", "."], cwd=GO, env=environment, check=True)


def build_typescript() -> None:
    """Build the kit and its runner where nobody has; `make` does it beforehand and sees what has changed."""
    for folder, built in ((KIT, "index.js"), (TYPESCRIPT, "runner.js")):
        if not (folder / "dist" / built).exists():
            subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund"], cwd=folder, check=True)
            subprocess.run(["npm", "run", "--silent", "build"], cwd=folder, check=True)


MISSING = {"node": "no Node 20 or later", "go": "no Go"}
BUILDS: dict[str | None, Callable[[], None]] = {"node": build_typescript, "go": build_go}


@contextmanager
def started(command: Sequence[str], secret: str | None = None) -> Iterator[str]:
    """Start a runner on a port that the system chooses, and give its URL; it is stopped in the end."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYLON_WORKFLOW_RUNNER_")}
    if secret is not None:
        environment[SECRETS_VARIABLE] = secret
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
    sys.exit(main(sys.argv[1:]))
