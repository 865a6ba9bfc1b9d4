"""What verifies a delivery, and what it knows of the senders who sign so."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol, runtime_checkable

RawHeaders = Sequence[tuple[bytes, bytes]]
"""A request's headers as ASGI has them: names in lower case, values as they came."""

BodyFormat = Literal["json", "form", "json or form"]


class Habits(NamedTuple):
    """What senders of a scheme usually do: where the delivery's id and the event's name are (`templates.py`).

    With `asks_challenge` a sender first asks whether the address is ours, and wants its challenge back.
    """

    delivery: str | None = None
    event: str | None = None
    body: BodyFormat = "json"
    asks_challenge: bool = False


class Verifier(Protocol):
    """Says whether a delivery is from who has the secret."""

    def verify(self, headers: RawHeaders, body: bytes, now: float) -> None:
        """Return when the raw body, and whatever else the scheme signs, is as its sender signed it.

        `now` is the time in unix seconds. Nothing of the body is read as anything but bytes.

        Raises:
            BadSignatureError: anything else, whatever the headers and the body are. Nothing else is raised or returned;
            what does is logged, and refuses the delivery.
        """
        ...


@runtime_checkable
class KnowsHabits(Protocol):
    """A verifier that knows its senders."""

    @property
    def habits(self) -> Habits:
        """What they usually do."""
        ...


@runtime_checkable
class HasKeys(Protocol):
    """A verifier whose keys can be compared with another's."""

    @property
    def keys(self) -> Sequence[bytes]:
        """The secrets as the bytes that sign."""
        ...
