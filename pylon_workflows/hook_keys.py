"""The keys by which hook URLs are signed and known again (PROTOCOL.md section 7).

An instance's key follows from its id and one secret of the file, so nothing is stored for a URL that is given out.
"""

import hmac
import secrets

from pylon_workflows.errors import WrongHookUrlError
from pylon_workflows.ports import InstanceSummary, SecretStore
from runner_protocol.hook_urls import hook_event, hook_signature
from runner_protocol.strict_json import encode_parsed

RUNS_LOOKED_BACK = 16
"""Of an instance with more runs the oldest ones' URLs are unknown, not outdated: anybody can have these looked for."""

HOOK_SECRET = "hooks"  # noqa: S105 -- it is not the secret itself
"""The name under which the store keeps the secret."""

_SECRET_BYTES = 32
_DIGITS = frozenset("0123456789abcdef")
_SIGNATURE_LENGTH = 64
_NOBODYS = bytes(_SECRET_BYTES)
_FIRST_RUN = 1
_LONGEST_ID = 128


class HookKeys:
    """What requests tell of hook URLs: where they lead, and the instance's key. Without a base URL, nothing.

    The file's secret is made when the store is first opened with a base URL, and stays.
    """

    def __init__(self, base_url: str | None) -> None:
        self._head = None if base_url is None else f',"hooks":{{"base_url":{_text(base_url.rstrip("/"))},"key":"'
        self._secret = b""

    async def open(self, store: SecretStore) -> None:
        """Get the file's secret, or make it. Raises StoreError."""
        if self._head is not None:
            self._secret = await store.keep(HOOK_SECRET, secrets.token_bytes(_SECRET_BYTES))

    def member(self, instance_id: str) -> str:
        """The member of the request's object, with the comma before it, or nothing."""
        if self._head is None:
            return ""
        return f'{self._head}{_key(self._secret, instance_id)}"}}'


def is_present_hook(
    secret: bytes | None, summary: InstanceSummary | None, instance_id: str, name: str, signature: str
) -> bool:
    """Whether a URL with this signature is of the instance's present run; False for one of an earlier run.

    `secret` is the store's HOOK_SECRET, `summary` the instance's; either may be missing.

    Raises:
        WrongHookUrlError: of neither. Whether there is such an instance, and how many runs it has had, shows neither in
            the error nor in how much is computed: the signatures of as many runs for each.
    """
    if _can_be_one(instance_id, name, signature):
        key = _key(_NOBODYS if secret is None else secret, instance_id)
        present = 0 if secret is None or summary is None else summary.run
        for run in range(present, present - 1 - RUNS_LOOKED_BACK, -1):
            if hmac.compare_digest(hook_signature(key, instance_id, run, name), signature) and run >= _FIRST_RUN:
                return run == present
    raise WrongHookUrlError("nobody has been given this URL")


def _can_be_one(instance_id: str, name: str, signature: str) -> bool:
    """Whether there is anything to compute: what is no URL of any instance costs nothing, however long it is."""
    try:
        hook_event(name)
    except ValueError:
        return False
    is_signature = len(signature) == _SIGNATURE_LENGTH and _DIGITS.issuperset(signature)
    return is_signature and len(instance_id) <= _LONGEST_ID and _is_text(name)


def _key(secret: bytes, instance_id: str) -> str:
    return hmac.digest(secret, instance_id.encode(), "sha256").hex()


def _is_text(name: str) -> bool:
    return name.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in name)


def _text(value: str) -> str:
    return encode_parsed(value).decode()
