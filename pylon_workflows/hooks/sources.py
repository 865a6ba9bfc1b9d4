"""Who may deliver webhooks, and what their deliveries mean."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field

from pylon_workflows.canonical_json import checked_text
from pylon_workflows.errors import InvalidInputError
from pylon_workflows.hooks.signatures.verifier import BodyFormat, Habits, HasKeys, KnowsHabits, Verifier
from pylon_workflows.hooks.templates import Template, checked_path
from pylon_workflows.tags import checked_tags

RESERVED_NAMES = frozenset({"hook", "published"})
"""What stands where a source would, in a URL and in the ids of events."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class HookStart:
    """What a delivery starts when no instance waits for it: a workflow, whose input is the event's data.

    `id` is a template of the instance's id, made up where there is none; `tags` are the instance's, each a template.
    `events` are the names of those that start one, as the source gives them on; every event where there are none.

    Raises:
        InvalidInputError
    """

    workflow: str
    id: str | None = None
    events: Sequence[str] | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        checked_text(self.workflow, "start.workflow")
        if self.id is not None:
            Template(self.id, "start.id")
        checked_tags(dict.fromkeys(self.tags, ""))
        for tag, template in self.tags.items():
            Template(template, f"start.tags.{tag}")
        for name in _names(self.events or (), "start.events"):
            checked_text(name, "start.events")


@dataclass(frozen=True, slots=True)
class HookSource:
    """A sender of webhooks: its deliveries come to `/hooks/<name>`, signed as the verifier says.

    Templates (`templates.py`) say where things stand in a delivery: `delivery` the id by which a repeated one is known,
    `event` the event's name. Where they are None, the verifier's scheme knows. Either `instance` gives the id of the
    instance that gets the event, or `correlation` a key by which a waiting one is found.

    `events` are the names that count, or what each of them is called for the workflow: `{"payment_intent.succeeded":
    "paid"}`; another event is acknowledged and dropped. `data` is the path of what the workflow gets, the whole body
    where it is None. `start` says what an event with a correlation key starts when nothing waits for it.

    Raises:
        InvalidInputError: the message names the source and the field.
    """

    name: str
    verifier: Verifier = field(repr=False)
    _: KW_ONLY
    delivery: str | None = None
    event: str | None = None
    instance: str | None = None
    correlation: str | None = None
    events: Mapping[str, str] | Sequence[str] | None = None
    data: str | None = None
    body: BodyFormat | None = None
    start: HookStart | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name) or self.name in RESERVED_NAMES:
            raise InvalidInputError(
                f"source {self.name!r:.60}: a name has 1 to 32 of the characters A-Z a-z 0-9 _ -, and is none of "
                f"{', '.join(sorted(RESERVED_NAMES))}"
            )
        try:
            self._check()
        except InvalidInputError as error:
            raise InvalidInputError(f"source {self.name!r}: {error}") from None

    def _check(self) -> None:
        if not callable(getattr(self.verifier, "verify", None)):
            raise InvalidInputError("verifier: must be one, such as Stripe(secrets)")
        if (self.instance is None) == (self.correlation is None):
            raise InvalidInputError("must have either instance or correlation, which find the instance for an event")
        if self.start is not None and self.correlation is None:
            raise InvalidInputError("start: goes only with a correlation")
        if self.body not in (None, "json", "form", "json or form"):
            raise InvalidInputError(f"body: must be 'json', 'form' or 'json or form', not {self.body!r:.40}")
        if self.data is not None:
            checked_path(self.data, "data")
            if "{" in self.data or "}" in self.data:
                raise InvalidInputError(f"data: {self.data!r:.120} must be a path, such as data.object, without braces")
        for given in ("delivery", "event"):
            if self.template_of(given) is None:
                raise InvalidInputError(f"{given}: must be a template, for the scheme does not say where it stands")
        delivery = Template(self.template_of("delivery") or "", "delivery")
        if delivery.is_fixed:
            raise InvalidInputError("delivery: is the same for all deliveries, so that only the first would count")
        for given in ("event", "instance", "correlation"):
            text = self.template_of(given)
            if text is not None:
                Template(text, given)
        for name, called in self.event_names().items():
            checked_text(name, "events")
            checked_text(called, f"events.{name}")

    @property
    def habits(self) -> Habits:
        """What is known of senders who sign so."""
        return self.verifier.habits if isinstance(self.verifier, KnowsHabits) else Habits()

    def template_of(self, field: str) -> str | None:
        """The text of a template, this source's or its scheme's."""
        given: str | None = getattr(self, field)
        habit: str | None = getattr(self.habits, field, None)
        return habit if given is None else given

    def event_names(self) -> Mapping[str, str]:
        """What the events that count are called for the workflow; nothing where all count under their own names."""
        if isinstance(self.events, Mapping):
            return self.events
        return {name: name for name in _names(self.events or (), "events")}


def checked_sources(sources: Iterable[HookSource]) -> Mapping[str, HookSource]:
    """The sources by name.

    Raises:
        InvalidInputError: two with one name, or with one secret: what is signed for one would be taken for the other.
    """
    if isinstance(sources, HookSource):
        raise InvalidInputError(f"sources: must be a list, such as [source], not the source {sources.name!r} alone")
    by_name: dict[str, HookSource] = {}
    users: dict[bytes, str] = {}
    for source in sources:
        if source.name in by_name:
            raise InvalidInputError(f"source {source.name!r}: there are two of that name")
        by_name[source.name] = source
        for key in source.verifier.keys if isinstance(source.verifier, HasKeys) else ():
            if users.setdefault(key, source.name) != source.name:
                raise InvalidInputError(
                    f"source {source.name!r}: has a secret of {users[key]!r}, so that each would take the other's "
                    "deliveries for its own"
                )
    return by_name


def _names(names: Sequence[str], field: str) -> Sequence[str]:
    if isinstance(names, str):
        raise InvalidInputError(f"{field}: must be a list of names, not a text")
    return names
