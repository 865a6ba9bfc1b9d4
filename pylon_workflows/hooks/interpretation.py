"""What a verified delivery means: which event it is, for whom, with which data."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pylon_workflows.canonical_json import CanonicalJson
from pylon_workflows.hooks.bodies import UnreadableBodyError, read_body
from pylon_workflows.hooks.sent_headers import AmbiguousHeaderError
from pylon_workflows.hooks.signatures.verifier import RawHeaders
from pylon_workflows.hooks.sources import HookSource
from pylon_workflows.hooks.templates import Arrived, MissingError, Template, checked_path, value_at
from runner_protocol.strict_json import encode_parsed

UNMAPPED = "unmapped-event"
AMBIGUOUS = "ambiguous-header"
MISSING = "missing-field"

_MAX_CHALLENGE = 1000


class NotApplicableError(Exception):
    """The delivery is genuine and changes nothing, however often it comes; `reason` names the kind for programs."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class StartWanted(NamedTuple):
    """What to start when nothing waits."""

    workflow: str
    id: str | None
    tags: Mapping[str, str]


class Delivery(NamedTuple):
    """An event for an instance, or for whichever waits with a correlation key; `id` is the sender's."""

    id: str
    event: str
    data: CanonicalJson
    instance_id: str | None
    correlation: str | None
    start: StartWanted | None


class Challenge(NamedTuple):
    """The sender asks whether the address is ours."""

    answer: str


class Interpreter:
    """Reads the deliveries of one source."""

    def __init__(self, source: HookSource) -> None:
        self._habits = source.habits
        self._body = source.body or self._habits.body
        self._delivery = Template(source.template_of("delivery") or "", "delivery")
        self._event = Template(source.template_of("event") or "", "event")
        self._names = source.event_names()
        self._data = () if source.data is None else checked_path(source.data, "data")
        self._instance = None if source.instance is None else Template(source.instance, "instance")
        self._correlation = None if source.correlation is None else Template(source.correlation, "correlation")
        self._start = start = source.start
        self._start_id = None if start is None or start.id is None else Template(start.id, "start.id")
        tags = {} if start is None else start.tags
        self._start_tags = {tag: Template(text, f"start.tags.{tag}") for tag, text in tags.items()}

    @property
    def wants_url_id(self) -> bool:
        """Whether the URL has to have an id after the source's name."""
        templates = [self._delivery, self._event, self._instance, self._correlation, self._start_id]
        templates += self._start_tags.values()
        return any(template.wants_url_id for template in templates if template is not None)

    def read(self, body: bytes, headers: RawHeaders, url_id: str | None) -> Delivery | Challenge:
        """What the delivery says. Raises NotApplicableError: nothing that this source maps."""
        try:
            value = read_body(body, self._body)
        except UnreadableBodyError as error:
            raise NotApplicableError("unreadable-body", str(error)) from None
        challenge = _challenge(value) if self._habits.asks_challenge else None
        if challenge is not None:
            return Challenge(challenge)
        try:
            return self._read(Arrived(value, headers, url_id))
        except MissingError as error:
            raise NotApplicableError(MISSING, str(error)) from None
        except AmbiguousHeaderError as error:
            raise NotApplicableError(AMBIGUOUS, str(error)) from None

    def _read(self, arrived: Arrived) -> Delivery:
        event = self._event.fill(arrived)
        if self._names:
            if event not in self._names:
                raise NotApplicableError(UNMAPPED, "this source does not take events of that name")
            event = self._names[event]
        return Delivery(
            id=self._delivery.fill(arrived),
            event=event,
            data=CanonicalJson(encode_parsed(value_at(arrived.body, self._data))),
            instance_id=None if self._instance is None else self._instance.fill(arrived),
            correlation=None if self._correlation is None else self._correlation.fill(arrived),
            start=self._start_of(event, arrived),
        )

    def _start_of(self, event: str, arrived: Arrived) -> StartWanted | None:
        start = self._start
        if start is None or (start.events and event not in start.events):
            return None
        return StartWanted(
            workflow=start.workflow,
            id=None if self._start_id is None else self._start_id.fill(arrived),
            tags={tag: template.fill(arrived) for tag, template in self._start_tags.items()},
        )


def _challenge(value: Any) -> str | None:
    """Slack's, which is answered and no event."""
    if not isinstance(value, dict) or value.get("type") != "url_verification":
        return None
    challenge = value.get("challenge")
    return challenge if isinstance(challenge, str) and len(challenge) <= _MAX_CHALLENGE else None
