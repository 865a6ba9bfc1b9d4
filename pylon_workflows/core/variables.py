"""The durable variables of an instance: names and JSON values, the latest of each."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from runner_protocol.strict_json import encode_parsed


class Variables(Mapping[str, Any]):
    """A value: a change returns a new one. Their JSON is kept, for it is sent more often than it changes."""

    __slots__ = ("_encoded", "_json", "size")

    def __init__(self) -> None:
        self._encoded: dict[str, bytes] = {}
        self._json: bytes | None = None
        self.size = 2
        """How many bytes `json` has, or would have."""

    def changed(self, values: Mapping[str, Any], unset: Iterable[str] = ()) -> "Variables":
        """These with `values` in place of what had their names, and without those to `unset`."""
        successor = Variables()
        successor._encoded = encoded = dict(self._encoded)
        members = self.size - 1 if encoded else 0
        for name, value in values.items():
            members -= _member_size(name, encoded.pop(name, None))
            encoded[name] = encode_parsed(value)
            members += _member_size(name, encoded[name])
        for name in unset:
            members -= _member_size(name, encoded.pop(name, None))
        successor.size = members + 1 if encoded else 2
        return successor

    @property
    def json(self) -> bytes:
        """All of them as a JSON object."""
        if self._json is None:
            members = (b"%b:%b" % (encode_parsed(name), value) for name, value in self._encoded.items())
            self._json = b"{%b}" % b",".join(members)
        return self._json

    def __getitem__(self, name: str) -> Any:
        return json.loads(self._encoded[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._encoded)

    def __len__(self) -> int:
        return len(self._encoded)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Variables):
            return self._encoded == other._encoded
        return isinstance(other, Mapping) and dict(self) == dict(other)

    def __hash__(self) -> int:
        return hash(frozenset(self._encoded))

    def __repr__(self) -> str:
        return f"Variables({dict(self)!r})"


def _member_size(name: str, value: bytes | None) -> int:
    return 0 if value is None else len(encode_parsed(name)) + len(b":,") + len(value)
