"""Deliveries signed as their senders sign them, by code of the tests' own."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import httpx

from pylon_workflows.api.refusals import BadSignatureError
from pylon_workflows.hooks import GitHub, HmacSignature, Slack, StandardWebhooks, Stripe, Verifier

Headers = list[tuple[bytes, bytes]]
MakeClient = Callable[..., httpx.AsyncClient]

AT = 1_700_000_000
SECRET = "b3VyLXNlY3JldC1rZXktb2YtMjQtYnl0ZXM="
OTHER_SECRET = "YW5vdGhlci1zZWNyZXQta2V5LTI0LWJ5dGU="
BODY = b'{"id":"evt_1","type":"paid","data":{"order_id":7}}'


class Scheme(NamedTuple):
    """How to make a verifier, and how its senders sign; `signed` are the headers that the signature covers."""

    verifier: Callable[[str | list[str]], Verifier]
    sign: Callable[[str, bytes, int], Headers]
    signed: tuple[bytes, ...]
    has_time: bool = True


def mac(secret: str | bytes, *parts: bytes, algorithm: str = "sha256") -> bytes:
    key = secret.encode() if isinstance(secret, str) else secret
    return hmac.new(key, b"".join(parts), getattr(hashlib, algorithm)).digest()


def standard(secret: str, body: bytes, at: int, *, message_id: bytes = b"msg_1", names: bytes = b"webhook") -> Headers:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signature = base64.b64encode(mac(key, message_id, b".", b"%d" % at, b".", body))
    return [
        (names + b"-id", message_id),
        (names + b"-timestamp", b"%d" % at),
        (names + b"-signature", b"v1," + signature),
    ]


def stripe(secret: str, body: bytes, at: int) -> Headers:
    return [(b"stripe-signature", b"t=%d,v1=%b" % (at, mac(secret, b"%d." % at, body).hex().encode()))]


def github(secret: str, body: bytes, _at: int = 0, *, delivery: bytes = b"72d3162e", event: bytes = b"push") -> Headers:
    return [
        (b"x-hub-signature-256", b"sha256=" + mac(secret, body).hex().encode()),
        (b"x-github-delivery", delivery),
        (b"x-github-event", event),
    ]


def slack(secret: str, body: bytes, at: int) -> Headers:
    signature = b"v0=" + mac(secret, b"v0:%d:" % at, body).hex().encode()
    return [(b"x-slack-request-timestamp", b"%d" % at), (b"x-slack-signature", signature)]


def shop(secret: str, body: bytes, _at: int = 0) -> Headers:
    return [(b"x-shop-hmac", base64.b64encode(mac(secret, body)))]


def bank(secret: str, body: bytes, at: int) -> Headers:
    digest = mac(secret, b"%d/pay/" % at, body, algorithm="sha512").hex().upper().encode()
    return [(b"bank-time", b"%d" % at), (b"bank-kind", b"pay"), (b"bank-signature", b"hmac=" + digest)]


SCHEMES = {
    "standard webhooks": Scheme(
        StandardWebhooks, standard, (b"webhook-id", b"webhook-timestamp", b"webhook-signature")
    ),
    "stripe": Scheme(Stripe, stripe, (b"stripe-signature",)),
    "github": Scheme(GitHub, github, (b"x-hub-signature-256",), has_time=False),
    "slack": Scheme(Slack, slack, (b"x-slack-request-timestamp", b"x-slack-signature")),
    "hmac, base64": Scheme(
        lambda secrets: HmacSignature(secrets, header="X-Shop-Hmac", encoding="base64"),
        shop,
        (b"x-shop-hmac",),
        has_time=False,
    ),
    "hmac, hex, with a time and a header": Scheme(
        lambda secrets: HmacSignature(
            secrets,
            header="Bank-Signature",
            algorithm="sha512",
            prefix="hmac=",
            timestamp_header="Bank-Time",
            signed="{timestamp}/{header:Bank-Kind}/{body}",
        ),
        bank,
        (b"bank-time", b"bank-kind", b"bank-signature"),
    ),
}


def is_accepted(verifier: Verifier, headers: Headers, body: bytes, now: float = AT) -> bool:
    """Whether it is; any error but the one of all verifiers is the test's failure."""
    try:
        verifier.verify(headers, body, now)
    except BadSignatureError:
        return False
    return True


def body_of(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
