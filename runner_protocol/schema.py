"""The JSON schema of the wire, generated from the messages: `python -m runner_protocol.schema --check|--write`.

The schema says what a message looks like; what it means is said by PROTOCOL.md beside it.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic.json_schema import models_json_schema

from runner_protocol.messages import DESCRIBE, Action, Description, Message, TurnRequest

SCHEMA_PATH = Path(__file__).with_name("schema.json")
_ACTIONS: tuple[type[Message], ...] = get_args(Action)
_USAGE = "usage: python -m runner_protocol.schema --check | --write"


def build_schema() -> dict[str, Any]:
    """Build the schema: `$defs` holds every message, the top accepts any of them."""
    wire: list[type[Message]] = [TurnRequest, Description, *_ACTIONS]
    _, generated = models_json_schema([(message, "validation") for message in wire])
    messages = generated["$defs"]
    tagged: list[type[Message]] = [*_ACTIONS, Description]
    for action in tagged:
        # The models give the tag a default, so that Python code need not repeat it; on the wire it must be there.
        messages[action.__name__].setdefault("required", []).insert(0, "action")
    messages["DescribeRequest"] = {
        "description": "The question that a runner answers with a Description.",
        "type": "object",
        "properties": {"protocol": {"type": "integer"}, "mode": {"const": DESCRIBE}},
        "required": ["mode"],
    }
    messages["Action"] = {
        "description": "A runner's answer.",
        "oneOf": [{"$ref": f"#/$defs/{action.__name__}"} for action in _ACTIONS],
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The step protocol, version 2",
        "description": (
            "Validate a request against #/$defs/TurnRequest, an answer or a line of a stream against #/$defs/Action, "
            "and the answer to `describe` against #/$defs/Description."
        ),
        "anyOf": [{"$ref": f"#/$defs/{name}"} for name in ("TurnRequest", "DescribeRequest", "Action", "Description")],
        "$defs": dict(sorted(messages.items())),
    }


def render_schema() -> str:
    """Write the schema as the file holds it."""
    return json.dumps(build_schema(), indent=2, ensure_ascii=False) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Check or write the file; returns the exit status."""
    match list(arguments):
        case ["--write"]:
            SCHEMA_PATH.write_text(render_schema(), encoding="utf-8")
            return 0
        case ["--check"]:
            if SCHEMA_PATH.exists() and SCHEMA_PATH.read_text(encoding="utf-8") == render_schema():
                return 0
            sys.stderr.write(f"{SCHEMA_PATH.name} is stale: run `python -m runner_protocol.schema --write`\n")
            return 1
        case _:
            sys.stderr.write(_USAGE + "\n")
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
