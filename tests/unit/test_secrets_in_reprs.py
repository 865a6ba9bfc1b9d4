"""A secret that somebody has configured stands in no repr: those end up in logs, in tracebacks and in tests' output."""

import base64
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from pylon_workflows import HttpRunner, LocalRunner, RunnerAuth
from pylon_workflows.cli.client import Client
from pylon_workflows.clock import SystemClock
from pylon_workflows.hooks import GitHub, HmacSignature, HookSource, Slack, StandardWebhooks, Stripe
from pylon_workflows.http_client.address import HttpAddress
from pylon_workflows.outbound_webhooks import OutboundWebhook, WebhookReceiver
from pylon_workflows.server import ServeOptions
from pylon_workflows.tokens import new_token, presented
from runner_protocol import Runner
from runner_protocol.hook_urls import HookGrant
from runner_protocol.signing import SigningKeys

CANARY = "c4n4ry-c4n4ry-c4n4ry-c4n4ry"
SECRET = "whsec_" + base64.b64encode(CANARY.encode()).decode()
URL = f"https://user:{CANARY}@runner.test/run?code={CANARY}"
AUTH = RunnerAuth(secrets=[SECRET], token=CANARY)
WEBHOOK = OutboundWebhook(url=URL, secrets=[SECRET])
TOKEN, TEXT = new_token(["admin"], now=datetime(2026, 1, 1, tzinfo=UTC))
VERIFIERS = [
    StandardWebhooks(SECRET),
    Stripe(CANARY),
    GitHub(CANARY),
    Slack(CANARY),
    HmacSignature(CANARY, header="x-signature"),
]


@dataclass
class Codec:
    key: str = CANARY

    def encode(self, data: bytes) -> bytes:
        return data

    def decode(self, data: bytes) -> bytes:
        return data


async def app(_scope: object, _receive: object, _send: object) -> None:
    """Answer nobody."""


HOLDERS = [
    AUTH,
    WEBHOOK,
    TOKEN,
    presented(TEXT),
    Client("http://127.0.0.1:1", CANARY),
    HookGrant(base_url="https://hooks.test", key=CANARY),
    HttpRunner("https://runner.test/run", auth=AUTH),
    HttpRunner(URL, auth=RunnerAuth(secrets=[SECRET])),
    LocalRunner(app, secrets=[SECRET]),
    Runner([], secrets=[SECRET]),
    HttpAddress.parse(URL, "runner URL"),
    ServeOptions(
        runner=URL,
        runners={"order": URL},
        token=CANARY,
        hooks=[HookSource("psp", Stripe(CANARY), instance="{id}")],
        runner_auth=AUTH,
        webhooks=[WEBHOOK],
        codec=Codec(),
    ),
    SigningKeys([SECRET]),
    WebhookReceiver(WEBHOOK, SystemClock()),
    *VERIFIERS,
    *(HookSource("psp", verifier, delivery="{id}", event="{type}", instance="{id}") for verifier in VERIFIERS),
]


@pytest.mark.parametrize("holder", HOLDERS, ids=lambda holder: type(holder).__name__)
def test_who_holds_a_secret_does_not_show_it(holder: object) -> None:
    shown = f"{holder!r} {holder}"
    for secret in (CANARY, SECRET, SECRET.removeprefix("whsec_"), TEXT, TEXT.rpartition("_")[2], TOKEN.hash.hex()):
        assert secret not in shown
    assert repr(TOKEN.hash) not in shown
