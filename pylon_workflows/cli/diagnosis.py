"""The command that looks at a database file: `doctor`. It needs no server."""

import sys
from pathlib import Path
from typing import Any

import click

from pylon_workflows.cli.codec_option import codec_option
from pylon_workflows.cli.output import print_json, print_line, print_table
from pylon_workflows.doctor import Finding, Report, Verdict, examine
from pylon_workflows.ports import PayloadCodec

_MARKS = {Verdict.HEALTHY: "ok", Verdict.NEEDS_ACTION: "ACT", Verdict.UNREADABLE: "ACT"}
_VERDICTS = {
    Verdict.HEALTHY: "healthy",
    Verdict.NEEDS_ACTION: "needs action",
    Verdict.UNREADABLE: "cannot be read",
}


@click.command("doctor")
@click.argument("file", type=click.Path(path_type=Path))
@codec_option
@click.option("--verify", "is_verifying", is_flag=True, help="Add up every history, and hold its row to that.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
def doctor(*, file: Path, codec: PayloadCodec | None, is_verifying: bool, as_json: bool) -> None:
    """Say how the database FILE is, and what to do about it. Writes nothing; its engine may run.

    Exits with 0 when it is healthy, with 1 when something needs action, with 2 when it cannot be read.
    """
    report = examine(file, is_verifying=is_verifying, codec=codec)
    if as_json:
        print_json(_as_json(report))
    else:
        rows = [[_MARKS[each.verdict], each.about, each.text, each.advice] for each in report.findings]
        print_table(["", "CHECK", "FOUND", "WHAT TO DO"], rows)
        print_line(f"{report.path}: {_VERDICTS[report.verdict]}")
    sys.exit(report.verdict)


def _as_json(report: Report) -> Any:
    return {
        "file": str(report.path),
        "verdict": _VERDICTS[report.verdict],
        "findings": [_finding_json(finding) for finding in report.findings],
    }


def _finding_json(finding: Finding) -> Any:
    return {
        "about": finding.about,
        "needs_action": finding.verdict is not Verdict.HEALTHY,
        "text": finding.text,
        "advice": finding.advice,
        "facts": dict(finding.facts),
    }
