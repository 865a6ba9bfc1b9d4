"""Branch coverage by tests that are not slow: 100 % of each file of `core/` and of `messages.py`, 95 % besides."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

WHOLE = ("pylon_workflows/core/", "runner_protocol/messages.py")
FLOOR = 95.0


def main() -> int:
    """Combine what the test processes wrote, print what is not covered, and fail below the floors."""
    coverage = [sys.executable, "-m", "coverage"]
    subprocess.run([*coverage, "combine", "--quiet"], check=False)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "coverage.json"
        subprocess.run([*coverage, "json", "--quiet", "-o", str(report)], check=True)
        files = json.loads(report.read_text())["files"]
    subprocess.run([*coverage, "report", "--skip-covered", "--show-missing"], check=False)
    whole = {name: entry["summary"] for name, entry in files.items() if name.startswith(WHOLE)}
    rest = [entry["summary"] for name, entry in files.items() if not name.startswith(WHOLE)]
    lacking = {name: summary["percent_covered"] for name, summary in whole.items() if summary["percent_covered"] < 100}
    for name, percent in lacking.items():
        print(f"{name}: {percent:.1f} % is covered, it must be 100 %")
    covered = sum(summary["covered_lines"] + summary["covered_branches"] for summary in rest)
    total = sum(summary["num_statements"] + summary["num_branches"] for summary in rest)
    percent = 100.0 * covered / total
    print(f"core and messages: {len(whole) - len(lacking)} of {len(whole)} files at 100 %; the rest: {percent:.1f} %")
    return 0 if whole and not lacking and percent >= FLOOR else 1


if __name__ == "__main__":
    raise SystemExit(main())
