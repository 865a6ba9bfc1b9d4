"""The URLs by which an instance is called from outside (PROTOCOL.md section 7): how they are made and signed."""

import hmac
import re
from typing import Annotated
from urllib.parse import quote

from pydantic import Field

from runner_protocol.actions import Message
from runner_protocol.fields import MAX_NAME_LENGTH

EVENT_PREFIX = "hook:"
MAX_HOOK_NAME_LENGTH = MAX_NAME_LENGTH - len(EVENT_PREFIX)
"""A call is the event `hook:<name>`, and that is a name too."""

_NO_NAME = re.compile(r"\.{1,2}")
"""Whoever follows a URL takes these for folders."""


class HookGrant(Message):
    """What the URLs of an instance's hooks are made of: where they lead, and the key that is its own."""

    base_url: Annotated[str, Field(min_length=1)]
    key: Annotated[str, Field(min_length=1, repr=False)]


def hook_event(name: str) -> str:
    """The event that a call of the hook is. Raises ValueError for a name that no URL can carry."""
    if not 1 <= len(name) <= MAX_HOOK_NAME_LENGTH:
        raise ValueError(f"a hook's name has 1 to {MAX_HOOK_NAME_LENGTH} characters, not {len(name)}")
    if _NO_NAME.fullmatch(name):
        raise ValueError(f"a hook's name is not {name!r}, which a URL cannot carry")
    return EVENT_PREFIX + name


def hook_signature(key: str, workflow_id: str, run: int, name: str) -> str:
    """What stands at the end of the URL: 64 hexadecimal digits. `key` is the instance's own, as a text."""
    return hmac.digest(key.encode(), f"{workflow_id}:{run}:{name}".encode(), "sha256").hex()


def hook_url(base_url: str, key: str, workflow_id: str, run: int, name: str) -> str:
    """The URL of one hook of one run of an instance. Raises ValueError for a name that no URL can carry."""
    hook_event(name)
    signature = hook_signature(key, workflow_id, run, name)
    return f"{base_url}/hook/{workflow_id}/{quote(name, safe='')}/{signature}"
