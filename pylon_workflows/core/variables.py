"""The durable variables of an instance: names and JSON values, the latest of each."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from runner_protocol.strict_json import encode_parsed


class Variables(Mapping[str, Any]):
    """A value: a change returns a new one. Their JSON is kept, for it is sent more often than it changes."""

    __slots__ = ("_encoded", "_json")

    def __init__(self, encoded: Mapping[str, bytes] | None = None) -> None:
        self._encoded: Mapping[str, bytes] = {} if encoded is None else encoded
        self._json: bytes | None = None

    def changed(self, values: Mapping[str, Any], unset: Iterable[str] = ()) -> "Variables":
        """These with `values` in place of what had their names, and without those to `unset`."""
        encoded = {**self._encoded, **{name: encode_parsed(value) for name, value in values.items()}}
        for name in unset:
            encoded.pop(name, None)
        return Variables(encoded)

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
