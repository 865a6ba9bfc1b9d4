"""docs/security.md: its scopes and limits are the code's."""

import re

from document_blocks import text_of
from test_documents import table

from pylon_workflows.api.limits import Limits
from pylon_workflows.api.scopes import OPEN, SCOPES
from pylon_workflows.edge import connections, protocol
from pylon_workflows.edge.connections import EdgeLimits
from pylon_workflows.edge.open_files import MOST_CONNECTIONS
from pylon_workflows.server import ServeOptions
from pylon_workflows.store import sealed_commits

PAGE = "docs/security.md"


def test_the_table_of_scopes_is_that_of_the_api() -> None:
    documented = {
        (path, method): row[0].strip("`")
        for row in table(PAGE, "scope")
        for method, path in re.findall(r"`([A-Z]+) (/\S*)`", row[1])
    }
    assert documented == SCOPES
    assert {("/healthz", "GET")} == OPEN


def test_the_limits_are_those_of_the_code() -> None:
    limits = {cells[0]: cells[1] for cells in table(PAGE, "what")}
    edge, api = ServeOptions().edge_limits(MOST_CONNECTIONS), Limits()
    assert limits["time for a request's head to arrive"] == f"{edge.head_timeout_s:g} s"
    assert limits["size of a head"] == f"{protocol.MAX_HEAD_BYTES:,} bytes"
    assert limits["time for a body to arrive"] == f"{api.body_timeout_s:g} s"
    assert edge.body_timeout_s == api.body_timeout_s + 5
    assert limits["bodies of all requests that are not answered yet"] == f"{edge.all_bodies_bytes:,} bytes"
    unread = f"{protocol.MAX_UNREAD_BYTES:,} bytes, {connections._LINGER_S:g} s"
    assert limits["what is taken of a body after its answer"] == unread
    assert limits["time in which a caller takes nothing of his answer"] == f"{edge.answer_timeout_s:g} s"
    assert limits["connections"].startswith(f"{MOST_CONNECTIONS:,},")
    assert EdgeLimits(max_connections=1).head_timeout_s == edge.head_timeout_s


def test_the_codes_of_the_edge_are_told() -> None:
    problems = (protocol._HEAD_TOO_LARGE, protocol._HEAD_TOO_SLOW, protocol._MALFORMED, protocol._FULL)
    for problem in problems:
        assert f"{problem.status} `{problem.code}`" in text_of(PAGE).replace("\n", " ")


def test_the_columns_that_are_encrypted_are_told() -> None:
    documented = {
        (table_name, column)
        for row in table(PAGE, "encrypted")
        for table_name, column in re.findall(r"`(\w+)\.(\w+)`", row[1])
    }
    of_the_code = re.findall(r"^\| (\w+) \| (\w+(?:, \w+)*) \|$", sealed_commits.__doc__ or "", re.MULTILINE)
    assert documented == {(name, each) for name, columns in of_the_code[1:] for each in columns.split(", ")}
    users = {column for name, column in documented if column not in ("body", "payload", "value")}
    assert users == set(sealed_commits._USERS)
