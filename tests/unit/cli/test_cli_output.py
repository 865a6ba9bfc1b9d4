import io

import pytest
from rich.console import Console

from pylon_workflows.cli.output import print_line, print_table, printable


def test_a_terminal_is_not_steered_by_what_comes_from_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    print_line("\x1b]0;owned\x07 é\n\x9b")
    assert capsys.readouterr().out == "\\x1b]0;owned\\x07 é\\n\\x9b\n"
    assert printable("plain [bold]text[/bold]") == "plain [bold]text[/bold]"


def test_a_terminal_gets_folded_cells_without_markup() -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=40, color_system=None)
    print_table(["ID", "NAME"], [["wf_1", "[bold]" + "x" * 60]], console=console)
    shown = text.getvalue()
    assert "[bold]" in shown
    assert shown.count("x") == 60
    assert max(map(len, shown.splitlines())) <= 40


def test_a_pipe_gets_aligned_columns_of_any_width(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["ID", "NAME", ""], [["wf_1", "x" * 500, "last"], ["wf_22", "y", ""]])
    title, first, second = capsys.readouterr().out.split("\n")[:3]
    assert first == f"wf_1   {'x' * 500}  last"
    assert second == "wf_22  y"
    assert title.startswith("ID     NAME")
