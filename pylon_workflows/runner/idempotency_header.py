"""The idempotency key in a header."""

import re
from urllib.parse import quote

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_.:#/-]*")


def encode_key(idempotency_key: str) -> bytes:
    """Percent-encode a key for the header, as JavaScript's `encodeURI` does: what ASCII can show stays readable."""
    if _PLAIN_KEY.fullmatch(idempotency_key):
        return idempotency_key.encode("ascii")
    return quote(idempotency_key, safe=":/?#[]@!$&'()*+,;=").encode("ascii")
