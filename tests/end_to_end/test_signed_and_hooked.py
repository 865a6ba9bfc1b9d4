"""Real processes: an engine that signs and a runner that asks for it, and a URL that a step has handed out."""

import sys
from urllib.parse import urlsplit

import httpx
import pytest

from tests.conformance.run_all import TYPESCRIPT, build_typescript
from tests.end_to_end.processes import Process, Processes, until

pytestmark = pytest.mark.slow

OLD = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NEW = "whsec_" + "QUJD" * 8
VARIABLE = "PYLON_WORKFLOW_RUNNER_SECRETS"
HANDS_OUT = {"calls": [{"step": "order", "hook_url_inside": "psp"}, {"hook": "psp", "timeout": "1h"}]}


def a_runner(processes: Processes, kit: str, secrets: str) -> Process:
    """The conformance workflows with this kit: one of them hands out a URL."""
    if kit == "typescript":
        build_typescript()
        command: tuple[str, ...] = ("node", str(TYPESCRIPT / "dist" / "runner.js"))
    else:
        command = (sys.executable, "-m", "runner_protocol.conformance.python_runner")
    return processes.start(f"{kit} runner", *command, more={VARIABLE: secrets})


def test_a_signed_runner_hands_out_a_url_and_a_call_of_it_ends_the_wait(processes: Processes, kit: str) -> None:
    runner = a_runner(processes, kit, OLD)
    api = processes.serve(
        runner, "--runner-secret-env", "NEW_SECRET", "--runner-secret-env", "OLD_SECRET",
        "--access-log", "--hooks-url", "https://shop.example/hooks", more={"NEW_SECRET": NEW, "OLD_SECRET": OLD},
    )  # fmt: skip
    instance_id = api.start("conformance.calls", HANDS_OUT)
    instance = api.until(instance_id, "waiting_for_event")
    url = instance["steps"][0]["output"]
    assert url.startswith(f"https://shop.example/hooks/hook/{instance_id}/psp/")
    here = f"{api.url.removesuffix('/api/workflows')}{urlsplit(url).path}"
    assert httpx.post(here[:-1] + "x", json={}, trust_env=False).status_code == 401
    for _ in range(2):
        answer = httpx.post(
            f"{here}?from=canary", json={"paid": True}, headers={"webhook-id": "msg_1"}, trust_env=False
        )
        assert (answer.status_code, answer.json()["applied"]) == (200, True)
    assert api.until(instance_id, "completed")["output"][1] == {"paid": True}
    said = api.process.said()
    assert f"/hooks/hook/{instance_id}/psp/... HTTP" in said
    for secret in (url.rpartition("/")[2], "canary", OLD, NEW):
        assert secret not in said


def test_a_worker_that_stands_by_takes_calls_too(processes: Processes) -> None:
    runner = a_runner(processes, "python", "")
    owner = processes.serve(runner, "--hooks-url", "https://shop.example/hooks")
    standby = processes.serve(runner, "--hooks-url", "https://shop.example/hooks")
    until(lambda: standby.http.get("/healthz").json()["role"] == "standby", "the second stands by")
    instance_id = owner.start("conformance.calls", HANDS_OUT)
    url = owner.until(instance_id, "waiting_for_event")["steps"][0]["output"]
    here = f"{standby.url.removesuffix('/api/workflows')}{urlsplit(url).path}"
    assert httpx.post(f"{here[:-1]}x", trust_env=False).status_code == 401
    answers = [httpx.post(here, json=7, headers={"webhook-id": "m"}, trust_env=False).json() for _ in range(2)]
    assert [answer["duplicate"] for answer in answers] == [False, True]
    assert owner.until(instance_id, "completed")["output"][1] == 7


def test_a_runner_that_refuses_is_asked_until_the_secrets_are_sorted_out(processes: Processes) -> None:
    api = processes.serve(
        a_runner(processes, "python", NEW), "--workflow", "conformance.calls:0", "--no-discovery", more={VARIABLE: OLD}
    )
    instance_id = api.start("conformance.calls", {"calls": [{"step": "order"}]})
    until(lambda: "compare the secrets, the token and the clocks" in api.process.said(), "the log says what to look at")
    assert api.get(instance_id)["steps"] == []
    assert OLD not in api.process.said()
    api.process.stop()
    again = processes.serve(
        a_runner(processes, "python", f"{NEW},{OLD}"), "--no-discovery", database="workflows.db", more={VARIABLE: OLD}
    )
    assert again.until(instance_id, "completed")["output"] == ["order"]
