"""What `make test` runs: each check in turn, its name, its time, and at the end what failed.

    python tools/check.py [--fast | --long] [--only NAME]

`--fast` is `make test-fast`, `--long` is `make test-long`: the tests marked `long`, one at a time, and nothing else.
Without Node 20 the TypeScript parts are left out, which is said at the end; where CI is set that is a failure.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
TYPESCRIPT = ROOT / "runner_protocol" / "typescript"
MAX_LINES = 300
LONGER = {"pylon_workflows/errors.py": 400}
"""A class for each error that a caller can meet, below the tree of all of them: a list, and to be read in one place."""


@dataclass(frozen=True)
class Check:
    """One thing to run; `needs_node` leaves it out where there is none."""

    name: str
    run: Callable[[], bool]
    needs_node: bool = False
    is_fast: bool = True


def command(*words: str, cwd: Path = ROOT, **environment: str) -> Callable[[], bool]:
    """A check that runs a program and passes when it exits with 0."""
    return lambda: subprocess.run(words, cwd=cwd, env={**os.environ, **environment}, check=False).returncode == 0


def tool(name: str, *words: str, **environment: str) -> Callable[[], bool]:
    """A check that runs a program of the virtual environment."""
    return command(str(BIN / name), *words, **environment)


def module_sizes() -> bool:
    """No module is longer than MAX_LINES."""
    files = subprocess.run(
        ("git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py", "*.ts"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    sizes = {name: len((ROOT / name).read_text().splitlines()) for name in files if (ROOT / name).exists()}
    shipped = {name: size for name, size in sizes.items() if name.startswith(("pylon_workflows/", "runner_protocol/"))}
    too_long = {name: size for name, size in shipped.items() if size > LONGER.get(name, MAX_LINES)}
    for name, size in sorted(too_long.items()):
        print(f"{name} has {size} lines; the limit is {MAX_LINES}")
    return not too_long and bool(shipped)


def failed_tests() -> list[str]:
    """What pytest remembers of its last run; a long report of the coverage may have hidden its own list."""
    try:
        names: dict[str, bool] = json.loads((ROOT / ".pytest_cache" / "v" / "cache" / "lastfailed").read_text())
    except FileNotFoundError:
        return []
    return sorted(names)


def has_node() -> bool:
    """Whether Node 20 or later is on the PATH."""
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        return False
    major = subprocess.run((node, "-p", "parseInt(process.versions.node)"), capture_output=True, text=True, check=False)
    return int(major.stdout or 0) >= 20


CHECKS = [
    Check("lint", tool("ruff", "check", ".")),
    Check("format", tool("ruff", "format", "--check", ".")),
    Check("types", tool("mypy")),
    Check("layers", tool("lint-imports")),
    Check("sizes", module_sizes),
    Check("typescript", command("make", "--no-print-directory", "typescript"), needs_node=True, is_fast=False),
    Check("typescript-tests", command("npm", "test", "--silent", cwd=TYPESCRIPT), needs_node=True, is_fast=False),
]
FAST = ("-q", "-m", "not slow and not long", "-n", "2")
FAST_TESTS = Check("tests", tool("pytest", *FAST))
COVERED_TESTS = Check("tests", tool("coverage", "run", "-m", "pytest", *FAST), is_fast=False)
# Under coverage these would take more than twice as long; the floors hold without them.
SLOW_TESTS = Check(
    "slow tests",
    tool("pytest", "-q", "-m", "slow and not long", "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"),
    is_fast=False,
)
LONG_TESTS = Check("long tests", tool("pytest", "-v", "-m", "long", "--durations", "0"), is_fast=False)
COVERAGE = Check("coverage", tool("python", "tools/coverage_floor.py"), is_fast=False)


def main() -> int:
    """Run the checks and say how they went."""
    parser = argparse.ArgumentParser()
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--fast", action="store_true")
    size.add_argument("--long", action="store_true")
    parser.add_argument("--only")
    options = parser.parse_args()
    checks = [*CHECKS, FAST_TESTS] if options.fast else [*CHECKS, COVERED_TESTS, COVERAGE, SLOW_TESTS]
    if options.long:
        checks = [LONG_TESTS]
    node = has_node()
    failed: list[str] = []
    left_out: list[str] = []
    for check in checks:
        if (options.fast and not check.is_fast) or (options.only and check.name != options.only):
            continue
        if check.needs_node and not node:
            left_out.append(check.name)
            continue
        print(f"--- {check.name}", flush=True)
        began = time.monotonic()
        passed = check.run()
        print(f"--- {check.name}: {'passed' if passed else 'FAILED'} in {time.monotonic() - began:.1f} s", flush=True)
        if not passed:
            failed.append(check.name)
    if {"tests", "slow tests"} & set(failed):
        print("\n".join(f"FAILED {name}" for name in failed_tests()))
    if left_out:
        print(f"left out, because Node 20 is not on the PATH: {', '.join(left_out)}, and the tests that need it")
    if left_out and os.environ.get("CI"):
        failed.append("node")
    print(f"failed: {', '.join(failed)}" if failed else "all checks passed")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
