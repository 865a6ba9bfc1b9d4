"""Outbound webhooks over real sockets: what is sent, what counts as taken, and what is refused at the start."""

import asyncio
import base64
import contextlib
import json
from datetime import UTC, datetime

import pytest

from pylon_workflows import EngineSettings, InvalidInputError, OutboundWebhook, WorkflowDefinition, WorkflowEngine
from pylon_workflows.clock import SystemClock
from pylon_workflows.core.instance import Status
from pylon_workflows.notices import Notice
from pylon_workflows.outbound_webhooks import WebhookReceiver, receivers_of
from pylon_workflows.ports import NotDeliveredError
from runner_protocol.signing import SigningKeys

SECRET = "whsec_" + base64.b64encode(b"a secret of ours, for receivers!").decode()
OLD = "whsec_" + base64.b64encode(b"the secret that we had before...").decode()
AT = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
NOTICE = Notice(
    key=1, message_id="msg_1", at=AT, attempts=0, instance_id="wf_1", name="bestellung ü", version="2", run=1,
    revision=7, status=Status.FAILED, error="boom\n", blocked_reason=None, parent_id="wf_0", tags={"team": "blue"},
    created_at=AT, started_at=AT, completed_at=AT,
)  # fmt: skip
TAKEN = b"HTTP/1.1 204 No Content\r\n\r\n"


def status_line(status, more=""):
    return f"HTTP/1.1 {status} Whatever\r\ncontent-length: 0\r\n{more}\r\n".encode()


class Server:
    """Answers each request with the next of `answers`, then with `always`; None hangs up."""

    def __init__(self, always=TAKEN):
        self.always = always
        self.requests = []
        self.came = asyncio.Event()

    async def serve(self, reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
                target, *lines = head.rstrip().split("\r\n")
                headers = [(n.encode(), v.encode()) for n, v in (line.split(": ", 1) for line in lines)]
                body = await reader.readexactly(int(dict(headers)[b"content-length"]))
                self.requests.append((target, headers, body))
                self.came.set()
                if self.always is None:
                    break
                writer.write(self.always)
                await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def listening(server):
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/told?by=us"
    finally:
        listener.close()


@contextlib.asynccontextmanager
async def receiver(url, *, secrets=(SECRET,)):
    receiver = WebhookReceiver(OutboundWebhook(url=url, secrets=secrets), SystemClock())
    await receiver.open()
    try:
        yield receiver
    finally:
        await receiver.close()


async def test_what_is_sent_is_signed_with_each_secret_and_says_what_happened():
    server = Server()
    async with listening(server) as url, receiver(url, secrets=[OLD, SECRET]) as sender:
        await sender.deliver(NOTICE)
    ((target, headers, body),) = server.requests
    assert target == "POST /told?by=us HTTP/1.1"
    assert dict(headers)[b"webhook-id"] == b"msg_1"
    assert dict(headers)[b"content-type"] == b"application/json"
    now_s = datetime.now(UTC).timestamp()
    for secret in (OLD, SECRET):
        SigningKeys([secret]).check(headers, body, now_s=now_s)
    at = "2026-01-02T03:04:05.000006+00:00"
    assert json.loads(body) == {
        "type": "workflow.failed",
        "timestamp": at,
        "data": {
            "id": "wf_1", "name": "bestellung ü", "version": "2", "status": "failed", "run": 1, "revision": 7,
            "error": "boom\n", "blocked_reason": None, "parent_id": "wf_0", "tags": {"team": "blue"},
            "created_at": at, "started_at": at, "completed_at": at,
        },
    }  # fmt: skip


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_any_success_takes_it(status):
    async with listening(Server(status_line(status))) as url, receiver(url) as sender:
        await sender.deliver(NOTICE)


@pytest.mark.parametrize(
    ("answer", "reason", "is_away", "retry_after_s"),
    [
        (status_line(500), "it answered 500", True, None),
        (status_line(503, "retry-after: 7\r\n"), "it answered 503", True, 7.0),
        (status_line(429, "retry-after: 9\r\n"), "it answered 429", True, 9.0),
        (status_line(410, "retry-after: 9\r\n"), "it answered 410", False, None),
        (status_line(400), "it answered 400", False, None),
        (b"garbage\r\n\r\n", "NotHttp", True, None),
        (None, "ConnectionBroken", True, None),
    ],
)
async def test_anything_else_does_not(answer, reason, is_away, retry_after_s):
    async with listening(Server(answer)) as url, receiver(url) as sender:
        with pytest.raises(NotDeliveredError, match=reason) as raised:
            await sender.deliver(NOTICE)
    assert (raised.value.is_away, raised.value.retry_after_s) == (is_away, retry_after_s)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status):
    elsewhere = Server()
    async with listening(elsewhere) as other:
        redirecting = Server(status_line(status, f"location: {other}\r\n"))
        async with listening(redirecting) as url, receiver(url) as sender:
            with pytest.raises(NotDeliveredError, match="redirects are not followed"):
                await sender.deliver(NOTICE)
    assert (len(redirecting.requests), elsewhere.requests) == (1, [])


async def test_one_that_is_down_is_away():
    async with listening(Server()) as url:
        pass
    async with receiver(url) as sender:
        with pytest.raises(NotDeliveredError, match="CannotConnect") as raised:
            await sender.deliver(NOTICE)
    assert raised.value.is_away


async def test_one_that_does_not_answer_in_time_is_away(monkeypatch):
    monkeypatch.setattr("pylon_workflows.outbound_webhooks.TIMEOUT_S", 0.05)
    async with listening(Server(b"HTTP/1.1 200 OK\r\n")) as url, receiver(url) as sender:
        with pytest.raises(NotDeliveredError, match="NoAnswerInTime"):
            await sender.deliver(NOTICE)


async def test_an_engine_tells_a_receiver_and_goes_without_waiting_for_one_that_hangs(tmp_path):
    server, silent = Server(), Server(b"")
    async with listening(server) as url, listening(silent) as silent_url:
        engine = WorkflowEngine(
            runner=None,
            database=tmp_path / "w.db",
            settings=EngineSettings(shutdown_grace_s=0),
            webhooks=[
                OutboundWebhook(url=url, secrets=[SECRET], events=["cancelled"], workflows=["order"]),
                OutboundWebhook(url=silent_url, secrets=[OLD]),
            ],
        )
        for name in ("order", "refund"):
            engine.register(WorkflowDefinition(name))
        began = asyncio.get_running_loop().time()
        async with engine, asyncio.timeout(10):
            for name in ("refund", "order"):
                instance = await engine.start(name)
                await engine.cancel(instance)
            await asyncio.gather(server.came.wait(), silent.came.wait())
        assert asyncio.get_running_loop().time() - began < 5
    told = [json.loads(body) for _, _, body in server.requests]
    assert [(each["type"], each["data"]["name"]) for each in told] == [("workflow.cancelled", "order")]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"url": "ftp://x"}, "webhook: url: should begin with http"),
        ({"url": "https://"}, "webhook: url: the host is missing"),
        ({"url": 7}, "webhook: url: must be a text, not 7"),
        ({"secrets": []}, "webhook: secrets: there is none"),
        ({"secrets": SECRET}, "webhook: secrets: should be a list"),
        ({"secrets": ["hunter2"]}, "webhook: secrets: number 1 is no secret"),
        ({"events": ["started"]}, "webhook: events: 'started' is none of completed, failed, cancelled, blocked"),
        ({"events": "failed"}, "webhook: events: should be a list"),
        ({"events": []}, "webhook: events: there is none"),
        ({"workflows": []}, "webhook: workflows: there is none"),
        ({"workflows": "order"}, "webhook: workflows: should be a list"),
        ({"workflows": ["x" * 200]}, "webhook: workflows: must have 1 to 128"),
    ],
)
def test_a_webhook_that_makes_no_sense_is_refused_and_no_secret_is_shown(changes, message):
    with pytest.raises(InvalidInputError, match=message) as raised:
        OutboundWebhook(**{"url": "https://x.test", "secrets": [SECRET], **changes})
    assert "hunter2" not in str(raised.value)
    assert SECRET not in str(raised.value)


def test_two_with_one_url_are_refused_and_none_shows_its_secrets():
    webhook = OutboundWebhook(url="https://user:word@x.test", secrets=[SECRET])
    with pytest.raises(InvalidInputError, match="webhooks: two have the same url"):
        receivers_of([webhook, OutboundWebhook(url="https://user:word@x.test", secrets=[OLD])], SystemClock())
    assert "word" not in repr(webhook)
    assert SECRET not in repr(webhook)


@pytest.mark.parametrize("common", [SECRET, SECRET.removeprefix("whsec_")])
def test_two_that_could_sign_for_each_other_are_refused(common):
    first = OutboundWebhook(url="https://a.test", secrets=[OLD, SECRET])
    with pytest.raises(InvalidInputError, match="webhooks: two have a secret in common") as raised:
        receivers_of([first, OutboundWebhook(url="https://b.test", secrets=[common])], SystemClock())
    assert SECRET[6:] not in str(raised.value)
    assert len(receivers_of([first], SystemClock())) == 1
