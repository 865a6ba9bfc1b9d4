"""What a benchmark has found, as a table and as JSON."""

import os
import platform
import sqlite3
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One number; `at_most` and `at_least` are what is wanted of it. `spread` is the least and greatest window."""

    name: str
    value: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None
    spread: tuple[float, float] | None = None
    note: str = ""

    @property
    def is_met(self) -> bool | None:
        """Whether it is as wanted; None where nothing is."""
        if self.at_most is None and self.at_least is None:
            return None
        is_small_enough = self.at_most is None or self.value <= self.at_most
        return is_small_enough and (self.at_least is None or self.value >= self.at_least)

    @property
    def wanted(self) -> str:
        """The bound as a person reads it."""
        bounds = [
            f"{sign} {shown(bound)}"
            for sign, bound in (("<=", self.at_most), (">=", self.at_least))
            if bound is not None
        ]
        return ", ".join(bounds)


@dataclass(frozen=True, kw_only=True)
class Report:
    """A benchmark's figures, and on what they were taken; `setting` is whatever a reader needs to judge them."""

    name: str
    title: str
    loop: str
    setting: dict[str, Any]
    figures: Sequence[Figure] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        figures = [{**asdict(figure), "is_met": figure.is_met} for figure in self.figures]
        return {**asdict(self), "figures": figures}


def median_figure(name: str, values: Sequence[float], unit: str, **wanted: Any) -> Figure:
    """The median of what the windows gave."""
    return Figure(name=name, value=statistics.median(values), unit=unit, spread=(min(values), max(values)), **wanted)


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that so many percent of all are not above."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def machine(folder: Path) -> dict[str, Any]:
    """What the figures were measured on; `folder` is where the databases lie."""
    return {
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "system": f"{platform.system()} {platform.machine()}",
        "file_system": _file_system(folder),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        **{name: version(name) for name in ("pylon-workflows", "pyreqwest", "aiohttp", "uvloop")},
    }


def show(report: Report, on: dict[str, Any]) -> None:
    """Print the report."""
    console = Console(width=None if Console().is_terminal else 132, highlight=False)
    console.print(f"\n[bold]{report.name}[/bold] ({report.loop}): {report.title}")
    console.print(", ".join(f"{name} {value}" for name, value in {**report.setting, **on}.items()), style="dim")
    table = Table(box=box.SIMPLE)
    for name, justify in (("measured", "left"), ("median", "right"), ("", "left"), ("windows", "right")):
        table.add_column(name, justify="right" if justify == "right" else "left")
    table.add_column("wanted", justify="right")
    table.add_column("")
    for figure in report.figures:
        spread = "" if figure.spread is None else f"{shown(figure.spread[0])} - {shown(figure.spread[1])}"
        verdict = {None: figure.note, True: "met", False: "MISSED"}[figure.is_met]
        table.add_row(figure.name, shown(figure.value), figure.unit, spread, figure.wanted, verdict)
    console.print(table)


def shown(value: float) -> str:
    """A number with as many digits as mean something."""
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.4f}"


def _file_system(folder: Path) -> str:
    mounts = Path("/proc/mounts")
    if not mounts.exists():
        return "unknown"
    entries = [line.split() for line in mounts.read_text().splitlines()]
    holding = [entry for entry in entries if folder.resolve().is_relative_to(entry[1])]
    return max(holding, key=lambda entry: len(entry[1]))[2] if holding else "unknown"
