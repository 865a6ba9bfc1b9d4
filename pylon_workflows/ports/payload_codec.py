"""What turns the values that a file holds into bytes that nobody else can read."""

from typing import Protocol


class PayloadCodec(Protocol):
    """Encrypts what users put into workflows before it is written, and decrypts what is read (docs/security.md).

    It is called on the event loop and on the threads that read and write, several at a time: it computes, and asks
    nobody. `decode` takes what any former `encode` gave, with the keys of then.
    """

    def encode(self, data: bytes, /) -> bytes:
        """These bytes, encrypted. What it raises fails the write."""
        ...

    def decode(self, data: bytes, /) -> bytes:
        """What `encode` was given. Raises anything where the key is another or the bytes were changed."""
        ...
