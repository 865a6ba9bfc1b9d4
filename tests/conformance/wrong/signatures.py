"""Runners that let in whom they should not, or keep out whom they should let in."""

from runner_protocol.conformance.exchange import Call
from runner_protocol.signing import SignatureError, SigningKeys

from ..front import Front, MalformedError
from . import fails


@fails("a-refused-request-is-not-read", "an-unsigned-request-is-refused")
class LetsInTheUnsigned(Front):
    """Checks a signature where there is one."""

    def check_signature(self, call: Call, keys: SigningKeys) -> None:
        if {"webhook-id", "webhook-timestamp", "webhook-signature"} <= set(call.headers):
            super().check_signature(call, keys)


@fails(
    "a-request-of-another-signer-is-refused",
    "a-refused-request-is-not-read",
    "what-was-changed-after-signing-is-refused",
)
class LetsInWhoeverSigns(Front):
    """Looks whether there is a signature, and not whose."""

    def check_signature(self, call: Call, keys: SigningKeys) -> None:
        try:
            super().check_signature(call, keys)
        except SignatureError as error:
            if "no signature" not in str(error):
                raise


@fails("a-signature-is-good-for-five-minutes")
class GoesByNoClock(Front):
    """Lets a signature be good for ever."""

    def check_signature(self, call: Call, keys: SigningKeys) -> None:
        signed_at = call.headers.get("webhook-timestamp", "")
        keys.check(self.headers(call), call.body, now_s=float(signed_at) if signed_at.isdigit() else 0)


@fails("one-signature-of-several-is-enough")
class ReadsOneSignature(Front):
    """Reads the first signature only."""

    def headers(self, call: Call) -> list[tuple[bytes, bytes]]:
        sent = dict(super().headers(call))
        sent[b"webhook-signature"] = sent.get(b"webhook-signature", b"").partition(b" ")[0]
        return list(sent.items())


@fails("a-refused-request-is-not-read")
class ReadsFirst(Front):
    """Finds fault with a request before it knows whose it is."""

    def check_signature(self, call: Call, keys: SigningKeys) -> None:
        try:
            self.read(call.body)
        except MalformedError:
            return
        super().check_signature(call, keys)
