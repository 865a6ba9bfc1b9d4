"""Stripe: the time and the body are signed (HMAC-SHA256, hex); the event's id and type stand in the body."""

import hmac

from pylon_workflows.hooks.signatures.checks import (
    TOLERANCE_S,
    check_signed,
    check_time,
    checked_tolerance,
    one,
    refused,
    seconds,
)
from pylon_workflows.hooks.signatures.keys import Secrets, keys_of
from pylon_workflows.hooks.signatures.verifier import Habits, RawHeaders


class Stripe:
    """Verifies the header `Stripe-Signature`. `secrets` are the endpoint's, as Stripe shows them (`whsec_...`).

    Raises:
        InvalidInputError: a secret or a tolerance that makes no sense.
    """

    habits = Habits(delivery="{id}", event="{type}")

    def __init__(self, secrets: Secrets, *, tolerance_s: float = TOLERANCE_S) -> None:
        self.keys = keys_of(secrets)
        self._tolerance_s = checked_tolerance(tolerance_s)

    def verify(self, headers: RawHeaders, body: bytes, now: float) -> None:
        """See `Verifier.verify`; a signature of another kind than `v1` counts for nothing."""
        members = [word.split(b"=", 1) for word in one(headers, b"stripe-signature").split(b",")]
        times = [member[1] for member in members if member[0] == b"t" and len(member) == 2]
        if len(times) != 1:
            raise refused("the header stripe-signature must have one time (t=)")
        signed_at = seconds(times[0])
        given = [member[1] for member in members if member[0] == b"v1" and len(member) == 2]
        signed = b".".join((times[0], body))
        check_signed(given, [hmac.digest(key, signed, "sha256").hex().encode() for key in self.keys])
        check_time(signed_at, now, self._tolerance_s)
