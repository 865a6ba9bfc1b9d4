import ast
import json
import logging
from pathlib import Path

import pytest

from pylon_workflows.logs import JsonFormatter, TextFormatter, request_id

ROOT = Path(__file__).resolve().parents[2]
METHODS = {"debug", "info", "warning", "error", "exception", "critical", "log"}


def record(message: str, *arguments: object, name: str = "pylon_workflows.turns") -> logging.LogRecord:
    return logging.LogRecord(name, logging.WARNING, __file__, 1, message, arguments, None)


def written(line: logging.LogRecord) -> dict[str, object]:
    value: dict[str, object] = json.loads(JsonFormatter().format(line))
    return value


def test_a_record_is_one_line_of_json_that_names_its_instance() -> None:
    line = record("%s: the runner is away: %s", "wf_1", "it said\n'no'")
    text = JsonFormatter().format(line)
    assert "\n" not in text
    value = json.loads(text)
    assert value.pop("time").endswith("Z")
    assert value == {
        "level": "WARNING",
        "logger": "pylon_workflows.turns",
        "message": "wf_1: the runner is away: it said\n'no'",
        "instance_id": "wf_1",
    }


@pytest.mark.parametrize(
    "line",
    [
        record("retention deleted %d instances", 3),
        record("%s: hello", "wf_1", name="uvicorn.error"),
        record("nothing"),
        record("%(a)s", {"a": 1}),
    ],
)
def test_a_record_about_no_instance_names_none(line: logging.LogRecord) -> None:
    assert "instance_id" not in written(line)


def test_the_request_is_named_and_the_traceback_is_kept() -> None:
    before = request_id.set("req-7")
    try:
        raise ValueError("odd \ud800 text")
    except ValueError as error:
        line = record("failed")
        line.exc_info = (type(error), error, error.__traceback__)
        value = written(line)
        text = TextFormatter().format(record("%s: late", "wf_1"))
    finally:
        request_id.reset(before)
    assert value["request_id"] == "req-7"
    assert "ValueError" in str(value["error"])
    assert text.endswith("WARNING pylon_workflows.turns: wf_1: late (request req-7)")
    assert TextFormatter().format(record("late")).endswith("late")


def test_whatever_begins_with_a_name_and_a_colon_begins_with_an_instance() -> None:
    """The formatter reads the instance off there."""
    first = []
    for file in (ROOT / "pylon_workflows").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in METHODS
                and ast.unparse(node.func.value) in ("_log", "_logger")
            ):
                said = node.args[node.func.attr == "log" :]
                if isinstance(said[0], ast.Constant) and str(said[0].value).startswith("%s: "):
                    first.append((ast.unparse(said[1]), file.name))
    assert len(first) > 15
    odd = [each for each in first if not each[0].endswith(("instance_id", "instance.id", "row.id"))]
    assert odd == []
