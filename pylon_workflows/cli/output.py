"""What commands print: tables for people, plain aligned columns in a pipe, JSON for scripts."""

import json
import re
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def print_json(value: Any) -> None:
    """One JSON document."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def print_line(text: str) -> None:
    """A line; what came from elsewhere cannot steer the terminal."""
    click.echo(printable(text))


def print_table(titles: Sequence[str], rows: Sequence[Sequence[str]], *, console: Console | None = None) -> None:
    """A table. On a terminal long cells are folded; in a pipe nothing is folded or cut."""
    console = console or Console()
    cells = [[printable(cell) for cell in row] for row in rows]
    if not console.is_terminal:
        for line in _aligned([list(titles), *cells]):
            click.echo(line)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def printable(text: str) -> str:
    """The text with control characters (a terminal obeys them) written out."""
    return _CONTROL.sub(lambda found: ascii(found.group())[1:-1], text)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    lines = (
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]) for row in rows
    )
    return [line.rstrip() for line in lines]
