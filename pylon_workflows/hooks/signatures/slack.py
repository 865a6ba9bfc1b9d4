"""Slack: the time and the body are signed (HMAC-SHA256, hex); ids and names stand in the body, which may be a form."""

import hmac

from pylon_workflows.hooks.signatures.checks import (
    TOLERANCE_S,
    check_signed,
    check_time,
    checked_tolerance,
    one,
    seconds,
)
from pylon_workflows.hooks.signatures.keys import Secrets, keys_of
from pylon_workflows.hooks.signatures.verifier import Habits, RawHeaders


class Slack:
    """Verifies the header `X-Slack-Signature`. `secrets` are the app's signing secrets.

    Events, commands and interactions are understood: their id is `event_id` or `trigger_id`, their name
    `event.type`, `command` or `type`.

    Raises:
        InvalidInputError: a secret or a tolerance that makes no sense.
    """

    habits = Habits(
        delivery="{event_id|trigger_id}",
        event="{event.type|command|type}",
        body="json or form",
        asks_challenge=True,
    )

    def __init__(self, secrets: Secrets, *, tolerance_s: float = TOLERANCE_S) -> None:
        self.keys = keys_of(secrets)
        self._tolerance_s = checked_tolerance(tolerance_s)

    def verify(self, headers: RawHeaders, body: bytes, now: float) -> None:
        """See `Verifier.verify`."""
        time = one(headers, b"x-slack-request-timestamp")
        signed_at = seconds(time)
        signed = b":".join((b"v0", time, body))
        expected = [b"v0=" + hmac.digest(key, signed, "sha256").hex().encode() for key in self.keys]
        check_signed([one(headers, b"x-slack-signature")], expected)
        check_time(signed_at, now, self._tolerance_s)
