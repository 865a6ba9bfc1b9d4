"""Webhooks where people put them: beside the API of `serve`, and in an application of their own."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result
from hook_signing import AT, OTHER_SECRET, SECRET, body_of, stripe
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp

from pylon_workflows import WorkflowEngine
from pylon_workflows.api.app import create_app
from pylon_workflows.cli import main as command_line
from pylon_workflows.cli import serving
from pylon_workflows.errors import InvalidInputError
from pylon_workflows.hooks import HookSource, Stripe, create_hooks_app
from pylon_workflows.server import ServeOptions, serving_app
from pylon_workflows.testing import FakeClock

BODY = body_of({"id": "evt_1", "type": "paid", "data": {"order": "order-7"}})
FOREIGN = ("203.0.113.9", 5)


def client_of(app: ASGIApp, peer: tuple[str, int] = FOREIGN) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, client=peer), base_url="http://shop.example")


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> None:
    """Let the served application, which takes the system's time, have the test's."""
    monkeypatch.setattr("pylon_workflows.hooks.app.SystemClock", lambda: clock)


@pytest.mark.usefixtures("now")
async def test_other_machines_reach_the_webhooks_and_not_the_api(
    engine: WorkflowEngine, instance_id: str, stripe_source: HookSource
) -> None:
    async with client_of(serving_app(engine, token=None, hooks=[stripe_source])) as client:
        headers = dict(stripe(SECRET, BODY, AT)) | {b"x-forwarded-for": b"198.51.100.1"}
        answer = await client.post("/hooks/stripe", content=BODY, headers=headers)
        assert (answer.status_code, answer.json()["applied"]) == (200, True)
        assert (await client.post("/hooks/stripe", content=BODY)).status_code == 401
        for path in ("/hooks", "/hooks/", "/hooks/nobody", "/hooksx"):
            assert (await client.post(path, content=BODY)).status_code == 404
        assert (await client.get("/api/workflows")).status_code == 403
        assert (await client.get("/api/workflows/order-7")).status_code == 403


@pytest.mark.usefixtures("now")
async def test_a_token_of_the_api_neither_opens_the_webhooks_nor_is_wanted_there(
    engine: WorkflowEngine, instance_id: str, stripe_source: HookSource
) -> None:
    async with client_of(serving_app(engine, token="t", hooks=[stripe_source])) as client:
        bearer = {"authorization": "Bearer t"}
        assert (await client.post("/hooks/stripe", content=BODY, headers=bearer)).status_code == 401
        signed = dict(stripe(SECRET, BODY, AT))
        assert (await client.post("/hooks/stripe", content=BODY, headers=signed)).json()["applied"]
        assert (await client.get("/api/workflows", headers=signed)).status_code == 401


async def test_they_are_mounted_beside_the_api_in_an_application(
    engine: WorkflowEngine, instance_id: str, stripe_source: HookSource, clock: FakeClock
) -> None:
    app = Starlette(
        routes=[
            Mount("/hooks", create_hooks_app(engine, [stripe_source], clock=clock)),
            Mount("/api", create_app(engine)),
        ]
    )
    async with client_of(app) as client:
        answer = await client.post("/hooks/stripe", content=BODY, headers=dict(stripe(SECRET, BODY, AT)))
        assert answer.json() == {"applied": True, "duplicate": False}
        assert (await client.post("/hooks/nobody", content=BODY)).json()["code"] == "unknown-source"


def test_with_webhooks_another_host_needs_no_token(stripe_source: HookSource) -> None:
    ServeOptions(host="0.0.0.0", hooks=[stripe_source])
    with pytest.raises(InvalidInputError, match="token"):
        ServeOptions(host="0.0.0.0")


class TestTheFileOfServe:
    @pytest.fixture
    def told(self, monkeypatch: pytest.MonkeyPatch) -> list[ServeOptions]:
        """What `serve` would have run with."""
        options: list[ServeOptions] = []
        monkeypatch.setattr(serving, "run_server", lambda given, announce: options.append(given))
        monkeypatch.setattr("logging.basicConfig", lambda **_: None)
        monkeypatch.delenv("PYLON_WORKFLOW_TOKEN", raising=False)
        return options

    @pytest.fixture
    def serve(self, tmp_path: Path) -> Callable[..., Result]:
        text = '[sources.stripe]\nscheme = "stripe"\nsecret_env = "PSP_SECRET"\ninstance = "{data.order}"\n'
        (tmp_path / "hooks.toml").write_text(text)

        def run(**environment: str) -> Result:
            command = ["serve", "--hooks", str(tmp_path / "hooks.toml"), "--host", "0.0.0.0"]
            return CliRunner().invoke(command_line, command, env=environment)

        return run

    def test_its_sources_are_served(self, serve: Callable[..., Result], told: list[ServeOptions]) -> None:
        assert serve(PSP_SECRET=OTHER_SECRET).exit_code == 0
        [source] = told[0].hooks
        assert (source.name, source.instance) == ("stripe", "{data.order}")
        assert isinstance(source.verifier, Stripe)
        assert source.verifier.keys == (OTHER_SECRET.encode(),)

    def test_what_is_wrong_with_it_is_a_sentence(self, serve: Callable[..., Result], told: list[ServeOptions]) -> None:
        result = serve()
        assert result.exit_code == 2
        assert "hooks.toml: source 'stripe': secret_env: the environment has no variable 'PSP_SECRET'" in result.output
        assert not told
