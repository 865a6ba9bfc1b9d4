"""Tokens that are made and revoked by the command while servers run: the owner of the file, and one that stands by."""

from typing import Any

import httpx
import pytest

from tests.end_to_end.processes import COMMAND, Api, Processes, run, until

pytestmark = pytest.mark.slow


@pytest.fixture
def apis(processes: Processes) -> list[Api]:
    runner = processes.runner("python")
    apis = [processes.serve(runner, "--workflow", "onboarding") for _ in range(2)]
    until(lambda: apis[1].http.get("/healthz").json()["role"] == "standby", "the second stands by")
    return apis


def token(processes: Processes, *arguments: str) -> Any:
    done = run(COMMAND, "token", *arguments, "--db", str(processes.folder / "workflows.db"))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_token_counts_at_once_in_every_worker_until_it_is_revoked(apis: list[Api], processes: Processes) -> None:
    assert [api.http.get("/").status_code for api in apis] == [200, 200]
    reader = token(processes, "create", "--scope", "read")
    starter = token(processes, "create", "--scope", "start", "--note", "the shop")

    def statuses(method: str, path: str, text: str | None, **more: Any) -> list[int]:
        headers = {} if text is None else {"authorization": f"Bearer {text}"}
        return [api.http.request(method, path, headers=headers, **more).status_code for api in apis]

    assert statuses("GET", "/", None) == [401, 401]
    assert statuses("GET", "/", reader) == [200, 200]
    start = {"name": "onboarding", "input": {"user": "alice", "pause": "1h"}}
    assert statuses("POST", "/start", starter, json=start) == [201, 201]
    assert statuses("POST", "/start", reader, json=start) == [403, 403]
    assert statuses("GET", "/healthz", None) == [200, 200]
    assert starter.split("_")[1] in token(processes, "list")
    token(processes, "revoke", reader)
    assert statuses("GET", "/", reader) == [401, 401]
    token(processes, "revoke", starter)
    assert statuses("GET", "/", None) == [200, 200]
    for api in apis:
        said = api.process.said()
        assert reader not in said
        assert starter not in said


def test_whoever_takes_over_knows_the_tokens(apis: list[Api], processes: Processes) -> None:
    text = token(processes, "create", "--scope", "read")
    apis[0].process.kill()

    def is_owner() -> bool:
        return bool(apis[1].http.get("/healthz").json().get("role") == "owner")

    until(is_owner, "the second owns the file")
    with httpx.Client(base_url=apis[1].url, trust_env=False) as client:
        assert client.get("/", headers={"authorization": f"Bearer {text}"}).status_code == 200
        assert client.get("/").status_code == 401
    token(processes, "revoke", text)
    assert apis[1].http.get("/").status_code == 200
