"""Tokens of the API: what they may do, how they look, and how one is told to be right.

A token is `pw_<id>_<secret>`. The file keeps the id and the SHA-256 of the secret, which has 256 random bits: nothing
slower is needed, and who reads the file cannot call.
"""

import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, get_args

from pylon_workflows.errors import InvalidInputError, UnknownTokenError
from runner_protocol.durations import MAX_DURATION

Scope = Literal["start", "event", "read", "cancel", "admin"]
"""What a token may do; `admin` may do everything."""

SCOPES: tuple[Scope, ...] = get_args(Scope)
EVERY_SCOPE: frozenset[Scope] = frozenset(SCOPES)

MAX_TOKENS = 1_000
MAX_NOTE_LENGTH = 200

_LETTERS = string.ascii_letters + string.digits
_ID_LENGTH, _SECRET_LENGTH = 12, 43
_ID = re.compile(rf"[a-z0-9]{{{_ID_LENGTH}}}")
_TEXT = re.compile(rf"pw_([a-z0-9]{{{_ID_LENGTH}}})_([A-Za-z0-9]{{{_SECRET_LENGTH}}})")
_IN_A_HEADER = re.compile(r"[!-~]+")
_NOBODYS = hashlib.sha256(secrets.token_bytes(32)).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What is kept of a token: everything but its secret. Without `expires_at` it counts until it is revoked."""

    id: str
    hash: bytes = field(repr=False)
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime | None = None
    note: str = ""

    def has_expired(self, now: datetime) -> bool:
        """Whether it no longer counts."""
        return self.expires_at is not None and now >= self.expires_at


@dataclass(frozen=True, slots=True)
class Presented:
    """What a caller shows: whose token it says that it is, and the hash of the secret that came with it."""

    id: str
    hash: bytes = field(repr=False)

    def is_right(self, known: Token | None) -> bool:
        """Whether the secret is the known token's; for an unknown one that takes as long to tell."""
        is_right = hmac.compare_digest(_NOBODYS if known is None else known.hash, self.hash)
        return is_right and known is not None


def new_token(
    scopes: Collection[str], *, now: datetime, expires_in: timedelta | None = None, note: str = ""
) -> tuple[Token, str]:
    """A token to keep, and its text, which nobody can make again.

    Raises:
        InvalidInputError: no scope, or an unknown one; a time that is not positive or beyond 100 years; a long note.
    """
    if not isinstance(note, str) or len(note) > MAX_NOTE_LENGTH or not note.isprintable():
        raise InvalidInputError(f"note: must be a line of at most {MAX_NOTE_LENGTH} characters")
    if expires_in is not None and not timedelta(0) < expires_in <= MAX_DURATION:
        raise InvalidInputError(f"expires: must be a time from now, of at most 100 years, not {expires_in}")
    token_id = "".join(secrets.choice(_LETTERS[:26] + string.digits) for _ in range(_ID_LENGTH))
    secret = "".join(secrets.choice(_LETTERS) for _ in range(_SECRET_LENGTH))
    token = Token(
        id=token_id,
        hash=_hash_of(secret),
        scopes=checked_scopes(scopes),
        created_at=now,
        expires_at=None if expires_in is None else now + expires_in,
        note=note,
    )
    return token, f"pw_{token_id}_{secret}"


def presented(text: str) -> Presented | None:
    """What a text shows that looks like a token; None for any other."""
    found = _TEXT.fullmatch(text)
    return None if found is None else Presented(found[1], _hash_of(found[2]))


def checked_own_token(text: str) -> str:
    """The token of a program's own, which may do everything.

    Raises:
        InvalidInputError: it cannot stand in a header; or it is one of a file's, and here it would have all scopes and
            count on when it has been revoked. The message does not show it.
    """
    if not _IN_A_HEADER.fullmatch(text):
        raise InvalidInputError("token: must be one or more visible ASCII characters without spaces")
    if presented(text) is not None:
        raise InvalidInputError(
            "token: is one of those that `token create` makes. They count without being named here, with their scopes, "
            "until they are revoked; named here it could do everything, for ever. Leave it out, or unset "
            "PYLON_WORKFLOW_TOKEN for the server: the commands that call it read that too"
        )
    return text


def checked_scopes(scopes: Collection[str]) -> frozenset[Scope]:
    """The scopes, once each. Raises InvalidInputError: none, an unknown one, or a text instead of several."""
    if isinstance(scopes, str):
        raise InvalidInputError(f"scopes: must be a collection, such as {{{scopes!r:.40}}}, not a text")
    known = frozenset(scope for scope in SCOPES if scope in scopes)
    for scope in scopes:
        if not isinstance(scope, str) or scope not in known:
            raise InvalidInputError(f"scopes: {scope!r:.40} is none; there are {', '.join(SCOPES)}")
    if not known:
        raise InvalidInputError(f"scopes: name at least one of {', '.join(SCOPES)}")
    return known


def check_token_id(text: str) -> str:
    """The id that a text is, or that the token has which it is. Raises UnknownTokenError for one that none can have."""
    shown = _TEXT.fullmatch(text)
    if shown is not None:
        return shown[1]
    if not _ID.fullmatch(text):
        raise UnknownTokenError("no token has that id: it has 12 small letters and digits, `token list` shows it")
    return text


def unknown_token(token_id: str) -> UnknownTokenError:
    """The error that says so."""
    return UnknownTokenError(f"no token has the id {token_id!r}")


def _hash_of(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
