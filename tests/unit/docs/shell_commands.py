"""Whether the commands that the documents show are ones that the programs take."""

import json
import re
import shlex
from urllib.parse import urlsplit

import click
import uvicorn
from document_blocks import ROOT, Block, blocks_of

from pylon_workflows.api.openapi import OPERATIONS
from pylon_workflows.api.publish_shapes import PublishRequest
from pylon_workflows.api.schedule_shapes import ScheduleRequest
from pylon_workflows.api.schemas import ApprovalRequest, DefinitionRequest, EventRequest, StartRequest
from pylon_workflows.cli import main as command_line
from runner_protocol.conformance.__main__ import _parser as conformance_parser

_SHAPES = {
    "/start": StartRequest,
    "/{id}/event": EventRequest,
    "/{id}/approvals/{key}": ApprovalRequest,
    "/definitions": DefinitionRequest,
    "/schedules": ScheduleRequest,
    "/events": PublishRequest,
}
_PREFIX = "/api/workflows"


def check_command(line: str, block: Block) -> None:
    """Raise when a command cannot be meant: no such program here, no such option, no such file, no such route."""
    program, *arguments = shlex.split(line)
    match program:
        case "env":
            check_command(shlex.join(word for word in arguments if "=" not in word), block)
        case "pylon-workflows":
            check_click(command_line, arguments)
        case "uvicorn":
            check_click(uvicorn.main, arguments)
        case "make":
            targets = {word for line in (ROOT / "Makefile").read_text().splitlines() for word in _targets(line)}
            assert {word for word in arguments if "=" not in word} <= targets
        case "python" if arguments[0] == "-m":
            check_module(arguments[1], arguments[2:])
        case "python" | "node":
            saved = {each.words.get("file") for each in blocks_of(block.document)}
            assert arguments[0].replace(".mjs", ".mts") in saved or (ROOT / arguments[0]).is_file()
        case "pip" | "npm":
            assert arguments[0] == "install"
            for word in arguments[1:]:
                checkout = word.removeprefix("../pylon-workflows")
                assert word in ("fastapi", "pytest", "typescript") or (ROOT / checkout.strip("/")).is_dir()
        case "npx":
            assert arguments[0] == "tsc"
        case "curl":
            check_call(arguments, block)
        case "sqlite3":
            assert arguments[1].startswith(".backup ")
        case _:
            raise AssertionError(f"{block}: nothing checks {program}")


def check_click(command: click.Command, arguments: list[str]) -> None:
    with command.make_context(command.name, list(arguments), resilient_parsing=False) as context:
        if isinstance(command, click.Group):
            name, found, rest = command.resolve_command(context, [*context._protected_args, *context.args])
            assert name is not None
            check_click(found, rest)


def check_module(module: str, arguments: list[str]) -> None:
    match module:
        case "runner_protocol.conformance":
            conformance_parser().parse_args(arguments)
        case "pytest":
            pass
        case _:
            raise AssertionError(f"nothing checks python -m {module}")


def check_call(arguments: list[str], block: Block) -> None:
    """A call of curl: the route is one of the API, with its method and a body of its shape."""
    url = urlsplit(next(word for word in arguments if word.startswith("http://")))
    body = arguments[arguments.index("-d") + 1] if "-d" in arguments else None
    method = arguments[arguments.index("-X") + 1] if "-X" in arguments else "POST" if body else "GET"
    value = None if body is None else json.loads(body)
    if not url.path.startswith(_PREFIX):
        app = "".join(each.text for each in blocks_of(block.document) if each.words.get("file") == "app.py")
        is_route = re.search(rf'@app\.{method.lower()}\("{url.path.rpartition("/")[0]}', app) or url.path in app
        is_source = url.path.startswith("/hooks/") and f'HookSource(\n    "{url.path.removeprefix("/hooks/")}",' in app
        assert is_route or is_source
        return
    path = re.sub(r"^/(order-\d+|ID)", "/{id}", url.path.removeprefix(_PREFIX))
    path = re.sub(r"/approvals/approval%3A[^/]+$", "/approvals/{key}", path)
    assert (path, method.lower()) in OPERATIONS
    if value is not None:
        assert set(value) <= set(_SHAPES[path].model_fields)
        _SHAPES[path].model_validate(value)


def _targets(line: str) -> list[str]:
    found = re.match(r"([a-z-]+):", line)
    return [found[1]] if found else []
