"""The web apps of `examples/`, each a real process that does what its README says."""

import shlex
import sys
from collections.abc import Iterator
from urllib.parse import parse_qsl

import httpx
import pytest

from tests.end_to_end.processes import ROOT, Api, Process, Processes, until

pytestmark = pytest.mark.slow

APPS = {"fastapi_app": "app:app", "django_app": "app:application"}
README_ADDRESS = "http://127.0.0.1:8000"


class WebApp:
    """An example's process and a client of its own routes; `api` is the engine's API in it."""

    def __init__(self, processes: Processes, name: str, runner: Process) -> None:
        self.name, self.runner = name, runner
        command = ("-m", "uvicorn", "--app-dir", str(ROOT / "examples" / name), APPS[name], "--port", "0")
        settings = {
            "WORKFLOWS_DATABASE": str(processes.folder / "workflows.db"),
            "PYLON_WORKFLOW_RUNNER_URL": runner.url(),
        }
        self.process = processes.start(name, sys.executable, *command, more=settings)
        self.url = self.process.url()
        self.api = processes.api(f"{self.url}/api/workflows", self.process)

    def post(self, path: str, fields: dict[str, str], webhook_id: str | None = None) -> httpx.Response:
        headers = {} if webhook_id is None else {"webhook-id": webhook_id}
        body = {"data": fields} if self.name == "django_app" else {"json": fields}
        return self.api.http.post(self.url + path, headers=headers, **body)


@pytest.fixture(scope="module", params=APPS)
def app(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebApp]:
    with Processes(tmp_path_factory.mktemp(request.param)) as processes:
        runner = processes.runner("python", "--log", str(processes.folder / "steps.log"))
        yield WebApp(processes, request.param, runner)


def confirmations(api: Api, instance_id: str) -> list[object]:
    return [entry["data"] for entry in api.history(instance_id) if entry["type"] == "event_received"]


def test_a_webhook_resumes_what_a_route_started_though_it_comes_early_and_twice(app: WebApp) -> None:
    started = app.post("/signups", {"user": "alice", "pause": "1s"})
    assert (started.status_code, started.json()) == (202, {"id": "onboarding-alice"})
    again = app.post("/signups", {"user": "alice", "pause": "1s"})
    assert (again.status_code, again.json()) == (202, {"id": "onboarding-alice"})
    first = app.post("/webhooks/confirmed", {"user": "alice", "via": "mail"}, "msg-1")
    second = app.post("/webhooks/confirmed", {"user": "alice", "via": "mail"}, "msg-1")
    assert app.api.get("onboarding-alice")["status"] != "completed"
    assert (first.status_code, first.json()) == (200, {"ok": True, "duplicate": False})
    assert (second.status_code, second.json()) == (200, {"ok": True, "duplicate": True})
    done = app.api.until("onboarding-alice", "completed")
    assert done["output"] == {"account": "acct_alice", "status": "active", "confirmation": {"via": "mail"}}
    late = app.post("/webhooks/confirmed", {"user": "alice", "via": "mail"}, "msg-1")
    assert (late.status_code, late.json()) == (200, {"ok": True, "duplicate": True})
    assert confirmations(app.api, "onboarding-alice") == [{"via": "mail"}]
    steps = (app.process.output.parent / "steps.log").read_text().splitlines()
    assert len([line for line in steps if "onboarding-alice" in line]) == 3


def test_a_webhook_that_comes_in_time_resumes_it_too(app: WebApp) -> None:
    app.post("/signups", {"user": "bob", "pause": "10ms"})
    app.api.until("onboarding-bob", "waiting_for_event")
    assert app.post("/webhooks/confirmed", {"user": "bob", "via": "mail"}).json()["duplicate"] is False
    app.api.until("onboarding-bob", "completed")


def test_what_is_wrong_is_the_callers_and_the_app_stays(app: WebApp) -> None:
    assert app.post("/webhooks/confirmed", {"user": "nobody", "via": "mail"}).status_code == 404
    assert app.post("/signups", {"user": "a/b"}).status_code in (400, 422)
    assert app.post("/signups", {}).status_code in (400, 422)
    app.post("/signups", {"user": "carol", "pause": "1h"})
    other = app.post("/signups", {"user": "carol", "pause": "2h"})
    assert (other.status_code, other.json()["code"]) == (409, "start-conflict")
    assert other.headers["content-type"] == "application/problem+json"
    assert app.api.http.get("/healthz").status_code == 200


def test_what_the_engine_cannot_do_now_is_answered_as_its_api_answers_it(app: WebApp, processes: Processes) -> None:
    """Whoever sent a webhook then sends it again, and nobody reads a page of the framework's."""
    app = WebApp(processes, app.name, app.runner)
    database = processes.folder / "workflows.db"
    database.rename(processes.folder / "elsewhere.db")
    until(lambda: app.api.http.get("/healthz").status_code == 503, "the engine has noticed")
    ours = app.api.http.post("/start", json={"name": "onboarding"})
    answers = [
        app.post("/signups", {"user": "frank", "pause": "1s"}),
        app.post("/webhooks/confirmed", {"user": "frank", "via": "mail"}),
    ]
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (ours.status_code, ours.json()["code"])
        assert (answer.status_code, answer.json()["code"]) == (503, "ownership-lost")
        for header in ("retry-after", "content-type"):
            assert answer.headers[header] == ours.headers[header]


def test_a_restart_of_the_app_goes_on_and_sigterm_ends_it_well(app: WebApp, processes: Processes) -> None:
    app = WebApp(processes, app.name, app.runner)
    app.post("/signups", {"user": "dave", "pause": "10ms"})
    app.api.until("onboarding-dave", "waiting_for_event")
    assert app.process.stop() in (0, -15)  # uvicorn raises the signal again once it has shut down
    assert "Application shutdown complete" in app.process.said()
    again = WebApp(processes, app.name, app.runner)
    again.post("/webhooks/confirmed", {"user": "dave", "via": "mail"}, "msg-1")
    assert again.api.until("onboarding-dave", "completed")["output"]["status"] == "active"


def test_the_commands_of_its_readme_do_what_it_says(app: WebApp) -> None:
    answers = [curl(line.replace("alice", "erin"), app.url) for line in commands(app.name, "curl ")]
    assert [answer.status_code for answer in answers] == [202, 200]
    assert confirmations(app.api, "onboarding-erin") == [{"via": "mail"}]
    served = [shlex.split(line) for line in commands(app.name, "uvicorn ")]
    assert served == [["uvicorn", "--app-dir", f"examples/{app.name}", APPS[app.name]]]


def commands(name: str, program: str) -> Iterator[str]:
    for line in (ROOT / "examples" / name / "README.md").read_text().splitlines():
        if line.strip().startswith(program):
            yield line.strip()


def curl(line: str, url: str) -> httpx.Response:
    """What this curl command asks, asked of the app at `url`."""
    words = iter(shlex.split(line)[1:])
    headers, body, address = {}, "", ""
    for word in words:
        match word:
            case "-H":
                name, _, value = next(words).partition(": ")
                headers[name] = value
            case "-d":
                body = next(words)
            case _:
                address = word
    assert address.startswith(README_ADDRESS)
    if "content-type" not in headers:
        assert parse_qsl(body, strict_parsing=True)
        headers["content-type"] = "application/x-www-form-urlencoded"
    return httpx.post(address.replace(README_ADDRESS, url), content=body, headers=headers, trust_env=False)
