"""Encrypts what the database file holds with Fernet (AES-128 in CBC mode, signed with HMAC-SHA256).

`ORDERS_KEYS` holds the keys, the newest first, with commas between them. A new key is made by
`python -c "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"`.
"""

import os
from collections.abc import Sequence

from cryptography.fernet import Fernet, MultiFernet


class FernetCodec:
    """Encrypts with the first key, and decrypts with whichever it was."""

    def __init__(self, keys: Sequence[str | bytes]) -> None:
        fernet = MultiFernet([Fernet(key) for key in keys])
        self.encode = fernet.encrypt
        self.decode = fernet.decrypt


def codec() -> FernetCodec:
    """The codec with the keys of the environment."""
    return FernetCodec(os.environ["ORDERS_KEYS"].split(","))
