"""Outbound webhooks: POSTed to where the configuration says, signed with the headers of Standard Webhooks."""

import asyncio
import hashlib
import ssl
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from pylon_workflows.canonical_json import checked_text
from pylon_workflows.core.instance import Status
from pylon_workflows.declared_types import check_type
from pylon_workflows.errors import InvalidInputError
from pylon_workflows.http_client.address import HttpAddress
from pylon_workflows.http_client.client import HttpClient
from pylon_workflows.http_client.connection import Answer, HttpClientError
from pylon_workflows.http_client.retry_after import parse_retry_after
from pylon_workflows.notices import NOTICED, Notice, Subscription
from pylon_workflows.ports import Clock, NotDeliveredError
from runner_protocol.signing import SigningKeys
from runner_protocol.strict_json import encode_parsed

TIMEOUT_S = 15.0
"""For all of an attempt, from the connecting to the answer's end."""

EVENTS = tuple(status.value for status in NOTICED)
_MOST_OF_AN_ANSWER = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundWebhook:
    """Who is told when an instance completes, fails, is cancelled or blocked: a POST to `url` for each.

    `secrets` sign it, all of them, so that the receiver may have the old one or the new; each is `whsec_` and base64 of
    24 to 64 bytes, and no other receiver's. `events` are some of `completed`, `failed`, `cancelled` and `blocked`;
    `workflows` are names, None means all. Redirects are not followed, and certificates always checked.

    Raises InvalidInputError: what is no URL, secret, event or name; the message shows no secret.
    """

    url: str = field(repr=False)
    secrets: Sequence[str] = field(repr=False)
    events: Collection[str] = EVENTS
    workflows: Collection[str] | None = None

    def __post_init__(self) -> None:
        _keys(self.secrets)
        _address(self.url)
        for name in ("events", "workflows"):
            if isinstance(getattr(self, name), str):
                raise InvalidInputError(f"webhook: {name}: should be a list of texts, not one text")
        if unknown := [event for event in self.events if event not in EVENTS]:
            raise InvalidInputError(f"webhook: events: {unknown[0]!r:.60} is none of {', '.join(EVENTS)}")
        if not self.events:
            raise InvalidInputError("webhook: events: there is none in the list")
        for workflow in self.workflows or ():
            checked_text(workflow, "webhook: workflows")
        if self.workflows is not None and not self.workflows:
            raise InvalidInputError("webhook: workflows: there is none in the list; leave it out for all")


class WebhookReceiver:
    """A `Receiver` behind HTTP."""

    def __init__(self, webhook: OutboundWebhook, clock: Clock) -> None:
        self._keys = _keys(webhook.secrets)
        self._address = _address(webhook.url)
        self._head = _head(self._address)
        self._clock = clock
        self._client: HttpClient | None = None
        self.name = self._address.name
        self.subscription = Subscription(
            key=hashlib.sha256(webhook.url.encode()).hexdigest()[:16],
            statuses=frozenset(map(Status, webhook.events)),
            workflows=None if webhook.workflows is None else frozenset(webhook.workflows),
        )

    async def open(self) -> None:
        """See `Receiver`."""
        tls = await asyncio.to_thread(_tls_context) if self._address.is_tls else None
        host, port = self._address.host, self._address.port
        self._client = HttpClient(host, port, tls=tls, max_body_bytes=_MOST_OF_AN_ANSWER)

    async def close(self) -> None:
        """See `Receiver`."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def deliver(self, notice: Notice) -> None:
        """See `Receiver`: any answer from 200 to 299 takes it."""
        if self._client is None:
            raise NotDeliveredError("it has not been opened", is_away=True)
        body = encode_parsed(message_of(notice))
        signed_at = int(self._clock.now().timestamp())
        lines = (
            f"content-length: {len(body)}",
            f"webhook-id: {notice.message_id}",
            f"webhook-timestamp: {signed_at}",
            f"webhook-signature: {self._keys.sign(notice.message_id, signed_at, body)}",
        )
        head = "\r\n".join((*self._head, *lines, "", "")).encode("ascii")
        try:
            answer = await self._client.request(head, body, timeout_s=TIMEOUT_S)
        except HttpClientError as error:
            raise NotDeliveredError(f"{type(error).__name__.removesuffix('Error')}: {error}", is_away=True) from None
        self._check(answer)

    def _check(self, answer: Answer) -> None:
        status = answer.status
        if 200 <= status < 300:
            return
        text = f"it answered {status}"
        if 300 <= status < 400:
            text += ", and redirects are not followed: configure the address that it leads to"
        is_away = status == 429 or status >= 500
        wait_s = parse_retry_after(answer.header(b"retry-after"), self._clock.now()) if is_away else None
        raise NotDeliveredError(text, is_away=is_away, retry_after_s=wait_s)


def receivers_of(webhooks: Sequence[OutboundWebhook], clock: Clock) -> Sequence[WebhookReceiver]:
    """The receivers. Raises InvalidInputError, as `check_apart`."""
    check_apart(webhooks)
    return [WebhookReceiver(webhook, clock) for webhook in webhooks]


def check_apart(webhooks: Sequence[OutboundWebhook]) -> None:
    """Raises InvalidInputError: two have one URL, or a secret in common, with which each could forge to the other.

    So does what is no list of webhooks.
    """
    if isinstance(webhooks, str) or not isinstance(webhooks, Sequence):
        shown = type(webhooks).__name__
        raise InvalidInputError(f"webhooks: must be a list, such as [OutboundWebhook(...)], not {shown}")
    for number, webhook in enumerate(webhooks, 1):
        check_type(webhook, OutboundWebhook, f"webhooks: number {number}")
    if len({webhook.url for webhook in webhooks}) < len(webhooks):
        raise InvalidInputError("webhooks: two have the same url; name all events and workflows in one")
    signed = [{_keys([secret]).sign("", 0, b"") for secret in webhook.secrets} for webhook in webhooks]
    if len(set().union(*signed)) < sum(map(len, signed)):
        raise InvalidInputError(
            "webhooks: two have a secret in common, so that whoever gets the one could sign what goes to the other: "
            "give each a secret of its own"
        )


def message_of(notice: Notice) -> dict[str, object]:
    """The body: the same for each attempt (docs/security.md, "Outbound webhooks")."""
    return {
        "type": f"workflow.{notice.status.value}",
        "timestamp": notice.at.isoformat(),
        "data": {
            "id": notice.instance_id,
            "name": notice.name,
            "version": notice.version,
            "status": notice.status.value,
            "run": notice.run,
            "revision": notice.revision,
            "error": notice.error,
            "blocked_reason": notice.blocked_reason,
            "parent_id": notice.parent_id,
            "tags": dict(notice.tags),
            "created_at": notice.created_at.isoformat(),
            "started_at": None if notice.started_at is None else notice.started_at.isoformat(),
            "completed_at": None if notice.completed_at is None else notice.completed_at.isoformat(),
        },
    }


def _keys(secrets: Sequence[str]) -> SigningKeys:
    try:
        return SigningKeys(secrets)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"webhook: {error}") from None


def _address(url: str) -> HttpAddress:
    return HttpAddress.parse(url, "webhook: url")


def _head(address: HttpAddress) -> Sequence[str]:
    """The lines that all requests begin with."""
    lines = [
        f"POST {address.target} HTTP/1.1",
        f"host: {address.authority}",
        "content-type: application/json",
        "accept: */*",
        "accept-encoding: identity",
        "user-agent: pylon-workflows",
    ]
    return lines if address.authorization is None else [*lines, f"authorization: {address.authorization}"]


def _tls_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
