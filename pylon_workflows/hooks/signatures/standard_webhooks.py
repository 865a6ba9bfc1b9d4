"""Standard Webhooks: the id, the time and the body are signed (HMAC-SHA256, base64), symmetric keys only (`v1`).

What a signature is, `runner_protocol.signing` says for runners too. The check is this one's own: senders choose secrets
of any length and other names of headers, and the time is judged last.
"""

from pylon_workflows.errors import InvalidInputError
from pylon_workflows.hooks.signatures.checks import (
    TOLERANCE_S,
    check_signed,
    check_time,
    checked_tolerance,
    one,
    seconds,
)
from pylon_workflows.hooks.signatures.keys import Secrets, keys_of, whsec_key
from pylon_workflows.hooks.signatures.verifier import Habits, RawHeaders
from runner_protocol.signing import VERSION, signatures


class StandardWebhooks:
    """Verifies what a sender signs by the Standard Webhooks specification.

    `secrets` are base64, with or without `whsec_` before it; bytes are the key itself. `headers="svix"` is for senders
    who name theirs `svix-id`, `svix-timestamp`, `svix-signature`.

    Raises:
        InvalidInputError: a secret or a tolerance that makes no sense.
    """

    def __init__(self, secrets: Secrets, *, headers: str = "webhook", tolerance_s: float = TOLERANCE_S) -> None:
        self.keys = keys_of(secrets, whsec_key)
        self._tolerance_s = checked_tolerance(tolerance_s)
        if headers not in ("webhook", "svix"):
            raise InvalidInputError(f"headers: must be 'webhook' or 'svix', not {headers!r:.40}")
        self._id, self._time, self._signature = (f"{headers}-{part}".encode() for part in _PARTS)
        self.habits = Habits(delivery=f"{{header:{headers}-id}}", event="{type}")

    def verify(self, headers: RawHeaders, body: bytes, now: float) -> None:
        """See `Verifier.verify`; a signature of another kind than `v1` counts for nothing."""
        message_id, time = one(headers, self._id), one(headers, self._time)
        signed_at = seconds(time)
        given = [word for word in one(headers, self._signature).split(b" ") if word.startswith(VERSION)]
        check_signed(given, signatures(self.keys, message_id, time, body))
        check_time(signed_at, now, self._tolerance_s)


_PARTS = ("id", "timestamp", "signature")
