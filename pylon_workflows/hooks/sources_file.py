"""Sources from a TOML file, for `serve --hooks`. Secrets stay in the environment; the file names their variables.

[sources.stripe]
scheme = "stripe"
secret_env = ["STRIPE_SECRET", "STRIPE_SECRET_OLD"]
correlation = "order:{data.object.metadata.order_id}"
events = { "payment_intent.succeeded" = "paid" }
start = { workflow = "late-payment", events = ["paid"] }
"""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from pylon_workflows.errors import InvalidInputError
from pylon_workflows.hooks.signatures import GitHub, HmacSignature, Slack, StandardWebhooks, Stripe
from pylon_workflows.hooks.signatures.checks import TOLERANCE_S
from pylon_workflows.hooks.signatures.generic import Algorithm, Encoding
from pylon_workflows.hooks.signatures.verifier import BodyFormat, Verifier
from pylon_workflows.hooks.sources import HookSource, HookStart, checked_sources
from pylon_workflows.toml_files import read_toml
from runner_protocol.bounds import ListOf


class _Table(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class _Start(_Table):
    workflow: str
    id: str | None = None
    events: ListOf[str] | None = None
    tags: dict[str, str] = Field(default_factory=dict)


class _Source(_Table):
    secret_env: str | ListOf[str]
    delivery: str | None = None
    event: str | None = None
    instance: str | None = None
    correlation: str | None = None
    events: dict[str, str] | ListOf[str] | None = None
    data: str | None = None
    body: BodyFormat | None = None
    start: _Start | None = None

    def options(self) -> dict[str, Any]:
        """What of the table goes to the verifier: what the scheme has beside the source."""
        own = type(self).model_fields.keys() - _Source.model_fields.keys() - {"scheme"}
        return {name: getattr(self, name) for name in own}


class _StandardWebhooks(_Source):
    scheme: Literal["standard-webhooks"]
    headers: Literal["webhook", "svix"] = "webhook"
    tolerance_s: float = TOLERANCE_S

    def verifier(self, secrets: Sequence[str]) -> Verifier:
        return StandardWebhooks(secrets, **self.options())


class _Stripe(_Source):
    scheme: Literal["stripe"]
    tolerance_s: float = TOLERANCE_S

    def verifier(self, secrets: Sequence[str]) -> Verifier:
        return Stripe(secrets, **self.options())


class _GitHub(_Source):
    scheme: Literal["github"]

    def verifier(self, secrets: Sequence[str]) -> Verifier:
        return GitHub(secrets)


class _Slack(_Source):
    scheme: Literal["slack"]
    tolerance_s: float = TOLERANCE_S

    def verifier(self, secrets: Sequence[str]) -> Verifier:
        return Slack(secrets, **self.options())


class _Hmac(_Source):
    scheme: Literal["hmac"]
    header: str
    algorithm: Algorithm = "sha256"
    prefix: str = ""
    encoding: Encoding = "hex"
    timestamp_header: str | None = None
    signed: str | None = None
    tolerance_s: float = TOLERANCE_S

    def verifier(self, secrets: Sequence[str]) -> Verifier:
        return HmacSignature(secrets, **self.options())


_AnySource = Annotated[_StandardWebhooks | _Stripe | _GitHub | _Slack | _Hmac, Field(discriminator="scheme")]


_SCHEMES: Mapping[Any, type[_Source]] = {
    get_args(each.model_fields["scheme"].annotation)[0]: each for each in get_args(get_args(_AnySource)[0])
}


class _File(_Table):
    sources: dict[str, _AnySource]


def load_sources(path: str | PathLike[str], environment: Mapping[str, str]) -> Sequence[HookSource]:
    """The sources of a file, with the secrets that the environment has for them.

    Raises:
        InvalidInputError: the file cannot be read or is not what it should be, a variable that it names is not set; the
            message names the file, the source and the field, and shows no secret.
    """
    try:
        return _sources(read_toml(path), environment)
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error}") from None


def _sources(tables: Mapping[str, Any], environment: Mapping[str, str]) -> Sequence[HookSource]:
    try:
        file = _File.model_validate(tables)
    except ValidationError as error:
        raise InvalidInputError(_sentence(error.errors(include_url=False, include_input=False)[0])) from None
    made = [_source(name, table, environment) for name, table in file.sources.items()]
    return list(checked_sources(made).values())


def _sentence(error: ErrorDetails) -> str:
    location, place = error["loc"], _place(error["loc"])
    match error["type"]:
        case "missing":
            return f"{place}: is missing"
        case "union_tag_not_found":
            return f"{place}.scheme: is missing; there are {', '.join(_SCHEMES)}"
        case "union_tag_invalid":
            return f"{place}.scheme: there is no {error['ctx']['tag']!r:.60}; there are {', '.join(_SCHEMES)}"
        case "dict_type" | "model_type" | "model_attributes_type" if location[-1] != "dict[str,str]":  # or a list
            return f"{place}: must be a table"
        case "extra_forbidden":
            return _unknown(location[:-1], location[-1])
        case _:
            return f"{place}: {error['msg'].removeprefix('Input ')}"


def _unknown(location: Sequence[int | str], name: int | str) -> str:
    """What may stand where this name does."""
    match location:
        case ("sources", _, scheme):
            owner, settings = f"a source with the scheme {scheme!r}", _SCHEMES[scheme].model_fields
        case ("sources", _, _, "start"):
            owner, settings = "start", _Start.model_fields
        case _:
            owner, settings = "the file", _File.model_fields
    return f"{_place(location)}: {name!r:.60} is no setting of {owner}; there are {', '.join(settings)}"


def _place(location: Sequence[int | str]) -> str:
    """Where in the file; of what pydantic says, without the source's scheme and the kinds that a field may have."""
    words = [*location[:2], *(word for word in location[3:] if word not in ("str", "list[str]", "dict[str,str]"))]
    return ".".join(map(str, words)) or "the file"


def _source(name: str, table: _AnySource, environment: Mapping[str, str]) -> HookSource:
    start: HookStart | None = None
    try:
        verifier = table.verifier(_secrets(table.secret_env, environment))
        if table.start is not None:
            start = HookStart(**dict(table.start))
    except InvalidInputError as error:
        raise InvalidInputError(f"source {name!r:.60}: {error}") from None
    return HookSource(
        name,
        verifier,
        delivery=table.delivery,
        event=table.event,
        instance=table.instance,
        correlation=table.correlation,
        events=table.events,
        data=table.data,
        body=table.body,
        start=start,
    )


def _secrets(named: str | Sequence[str], environment: Mapping[str, str]) -> Sequence[str]:
    names = [named] if isinstance(named, str) else named
    if not names:
        raise InvalidInputError("secret_env: must name at least one variable of the environment")
    for name in names:
        if not environment.get(name):
            raise InvalidInputError(f"secret_env: the environment has no variable {name!r:.100}, or an empty one")
    return [environment[name] for name in names]
