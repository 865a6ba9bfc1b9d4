"""GitHub: only the body is signed (HMAC-SHA256, hex). The delivery's id and the event's name are unsigned headers."""

import hmac

from pylon_workflows.hooks.signatures.checks import check_signed, one
from pylon_workflows.hooks.signatures.keys import Secrets, keys_of
from pylon_workflows.hooks.signatures.verifier import Habits, RawHeaders


class GitHub:
    """Verifies the header `X-Hub-Signature-256`. No time is signed: what was once sent stays valid.

    Raises:
        InvalidInputError: a secret that makes no sense.
    """

    habits = Habits(delivery="{header:x-github-delivery}", event="{header:x-github-event}", body="json or form")

    def __init__(self, secrets: Secrets) -> None:
        self.keys = keys_of(secrets)

    def verify(self, headers: RawHeaders, body: bytes, now: float) -> None:
        """See `Verifier.verify`."""
        expected = [b"sha256=" + hmac.digest(key, body, "sha256").hex().encode() for key in self.keys]
        check_signed([one(headers, b"x-hub-signature-256")], expected)
