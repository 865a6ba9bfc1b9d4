"""Which columns are sealed, and what becomes of values that do not open."""

import pytest

from pylon_workflows.errors import CorruptDatabaseError
from pylon_workflows.store.rows import APPENDED, CREATED, EARLIER, RESTORED
from pylon_workflows.store.sealed_commits import _row
from pylon_workflows.store.sealing import MARK, Seal, is_sealed
from pylon_workflows.store.sqlite_secrets import _checked


class Turned:
    def encode(self, data: bytes) -> bytes:
        return data[::-1]

    def decode(self, data: bytes) -> bytes:
        if data.startswith(b"!"):
            raise ValueError
        return data[::-1]


SEAL = Seal(Turned())


@pytest.mark.parametrize("columns", [APPENDED, CREATED, EARLIER, RESTORED])
def test_what_users_put_in_is_sealed_and_the_rest_is_as_it_was(columns: tuple[str, ...]) -> None:
    row = tuple(b"%b bytes" % name.encode() if name == "payload" else f"{name} text" for name in columns)
    sealed = _row(columns)(SEAL, row)
    changed = {name for name, before, after in zip(columns, row, sealed, strict=True) if before != after}
    assert changed == {"body", "payload", "error", "blocked_reason"} & set(columns)
    read = tuple(bytes(value) if isinstance(value, bytearray) else value for value in sealed)
    assert {name for name, value in zip(columns, read, strict=True) if is_sealed(value)} == changed - {"payload"}
    assert SEAL.opened(None, read) == row


def test_a_transition_without_a_payload_has_none_afterwards() -> None:
    assert SEAL.opened(None, (1, bytes(SEAL.transition("{}", None)), None)) == (1, "{}", None)
    assert SEAL.opened(None, (1, bytes(SEAL.transition("{}", b"")), None)) == (1, "{}", b"")
    assert SEAL.opened(None, (1, bytes(SEAL.transition("{}", b'"\n"')), None)) == (1, "{}", b'"\n"')


@pytest.mark.parametrize("damaged", [b"!", b"", b"?", b"\xfft", b"\xffp"])
def test_what_does_not_open_stays_sealed_and_the_others_open(damaged: bytes) -> None:
    row = (MARK + damaged, None, bytes(SEAL.value("text")), bytes(SEAL.value(b"bytes")))
    assert SEAL.opened(None, row) == (MARK + damaged, None, "text", b"bytes")


def test_a_secret_that_does_not_open_is_no_secret() -> None:
    with pytest.raises(CorruptDatabaseError, match="cannot be read"):
        _checked("hooks", MARK + b"!")
