import json
from typing import Any

import pytest
from local_server import LocalServer, Run

from pylon_workflows.core.instance import Status
from pylon_workflows.testing import wait_for_status


@pytest.fixture
def gate(server: LocalServer) -> str:
    """An instance at its first gate of two."""
    server.do(server.engine.start("gated", id="g"))
    server.do(wait_for_status(server.engine, "g", Status.AWAITING_APPROVAL))
    return "g"


def outputs(server: LocalServer) -> list[Any]:
    return [record.output for record in server.do(server.engine.wait("g", 10)).steps]


def test_without_a_key_the_only_open_gate_is_decided(run: Run, server: LocalServer, gate: str) -> None:
    result = run("approve", gate, "--by", "alice", "--comment", "go", "--data", '{"n": 1}', url=server.url)
    assert (result.exit_code, result.output) == (0, "approved approval:ship gate of g\n")
    server.do(wait_for_status(server.engine, "g", Status.AWAITING_APPROVAL))
    result = run("reject", gate, url=server.url)
    assert (result.exit_code, result.output) == (0, "rejected approval:pay of g\n")
    ship, pay = outputs(server)
    assert (ship["approved"], ship["by"], ship["comment"], ship["data"]) == (True, "alice", "go", {"n": 1})
    assert (pay["approved"], pay["by"]) == (False, None)
    result = run("approve", gate, url=server.url)
    assert (result.exit_code, result.output) == (1, "Error: g is completed and waits for no approval\n")


def test_a_gate_is_named_by_its_key(run: Run, server: LocalServer, gate: str) -> None:
    result = run("reject", gate, "approval:pay", url=server.url)
    assert result.exit_code == 1
    assert "approval:pay" in result.output
    assert run("reject", gate, "approval:ship gate", url=server.url).output == "rejected approval:ship gate of g\n"
    again = run("reject", gate, "approval:ship gate", url=server.url)
    assert (again.exit_code, again.output) == (0, "had been rejected already: approval:ship gate of g\n")
    other = run("approve", gate, "approval:ship gate", url=server.url)
    assert other.exit_code == 1
    assert "has been rejected already" in other.output


def test_it_prints_json(run: Run, server: LocalServer, gate: str) -> None:
    result = run("approve", gate, "--json", url=server.url)
    assert json.loads(result.output) == {"ok": True, "duplicate": False}


def test_data_that_is_no_json_is_wrong_usage(run: Run, server: LocalServer, gate: str) -> None:
    result = run("approve", gate, "--data", "{", url=server.url)
    assert result.exit_code == 2
    assert "--data" in result.output


def test_show_and_list_tell_what_is_waited_for(run: Run, server: LocalServer, gate: str) -> None:
    assert "waits for the decision approval:ship gate" in run("show", gate, url=server.url).output
    assert "waits for the decision approval:ship gate" in run("list", "--status", "waiting", url=server.url).output
