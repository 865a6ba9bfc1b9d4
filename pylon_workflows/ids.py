"""Ids: time-ordered, so that they sort by age; unguessable, so that knowing one says nothing of another."""

import hashlib
import re
import secrets
from datetime import datetime

from pylon_workflows.errors import CallerError, InvalidIdError, ReservedIdError, UnknownInstanceError

RESERVED_IDS = frozenset(
    {
        "cancel",
        "definitions",
        "events",
        "healthz",
        "history",
        "import",
        "openapi.json",
        "resume",
        "schedules",
        "start",
        "stream",
    }
)
"""Words that stand where an id would in a route of the HTTP API."""

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")


def new_instance_id(now: datetime) -> str:
    """`wf_` and 26 characters: 48 bits of milliseconds, then 80 random bits (the ULID's layout)."""
    number = (int(now.timestamp() * 1000) << 80) | secrets.randbits(80)
    return "wf_" + _in_letters(number)


def _in_letters(number: int) -> str:
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))


def child_id(parent_id: str, run: int, key: str) -> str:
    """The id of a child to whom nobody gave one: the same each time that this record starts it, and unguessable."""
    digest = hashlib.sha256(f"{parent_id}\0{run}\0{key}".encode()).digest()
    return "wf_" + _in_letters(int.from_bytes(digest[:17], "big") >> 6)


def new_seed() -> str:
    """32 hex digits, for a run's replay-stable randomness."""
    return secrets.token_hex(16)


def check_instance_id(value: str, field: str = "id") -> str:
    """An id that a caller chose, as it is, when it fits `[A-Za-z0-9_.:-]{1,128}`; errors name the field.

    Raises:
        InvalidIdError, ReservedIdError
    """
    if not isinstance(value, str):
        raise InvalidIdError(f"{field}: must be a text, not {type(value).__name__}")
    if not _ID.fullmatch(value):
        raise InvalidIdError(f"{field}: {value[:140]!r} must be 1 to 128 of the characters A-Z a-z 0-9 _ . : -")
    if value.lower() in RESERVED_IDS or value in (".", ".."):
        raise ReservedIdError(f"{field}: {value!r} is a reserved word")
    return value


def check_possible_id(value: str) -> str:
    """An id by which an instance is asked for. Raises UnknownInstanceError for one that no instance can have."""
    try:
        return check_instance_id(value)
    except InvalidIdError:
        raise unknown_instance(value) from None


def unknown_instance(instance_id: str) -> CallerError:
    """The error that says so: an UnknownInstanceError, or InvalidIdError of what is no text."""
    if not isinstance(instance_id, str):
        return InvalidIdError(f"id: must be a text, not {type(instance_id).__name__}")
    return UnknownInstanceError(f"no instance has the id {instance_id[:140]!r}")
