"""The commands that run an engine: `serve` and `demo`."""

import os
import sys
from typing import Any

import click

from pylon_workflows.api.limits import Limits
from pylon_workflows.cli.codec_option import codec_option
from pylon_workflows.cli.notify_options import notify_options, outbound_webhooks
from pylon_workflows.cli.runner_options import runner_auth, runner_auth_options
from pylon_workflows.definitions import WorkflowDefinition
from pylon_workflows.errors import InvalidInputError, WorkflowError
from pylon_workflows.hooks import load_sources
from pylon_workflows.logs import LogFormat, configure_logging
from pylon_workflows.server import DEFAULT_PORT, ServeOptions
from pylon_workflows.server import serve as run_server
from pylon_workflows.settings import DEFAULT_RUNNER_URL, HOOKS_URL_VARIABLE, RUNNER_URL_VARIABLE, EngineSettings
from pylon_workflows.settings_file import load_settings

_DEFAULTS = EngineSettings(hooks_url=None)


class NotStartedError(click.ClickException):
    """The engine or its server refused to start; the message says what to do."""

    exit_code = 1


def _definition(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> Any:
    return [read_definition(value) for value in values]


def read_definition(text: str) -> WorkflowDefinition:
    """`NAME` or `NAME:max_retries`. Raises click.BadParameter."""
    name, colon, number = text.rpartition(":")
    try:
        if not colon:
            return WorkflowDefinition(text)
        if not (number.isascii() and number.isdigit()):
            raise InvalidInputError(f"RETRIES: {number!r} is no number")
        return WorkflowDefinition(name, max_retries=int(number[:9]))
    except InvalidInputError as error:
        raise click.BadParameter(f"{text!r}: {error}") from None


def _routes(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> Any:
    routes: dict[str, str] = {}
    for value in values:
        route, equals, url = value.partition("=http")
        if not equals:
            raise click.BadParameter(
                f"{value!r}: should be like orders=http://127.0.0.1:9877/run, or orders@2=http://..."
            )
        if route in routes:
            raise click.BadParameter(f"{route!r} has two URLs")
        routes[route] = f"http{url}"
    return routes


@click.command("serve")
@click.option(
    "--runner", metavar="URL", envvar=RUNNER_URL_VARIABLE, show_envvar=True, default=DEFAULT_RUNNER_URL,
    show_default=True, help="Where the workflow code answers.",
)  # fmt: skip
@click.option(
    "--runner-for", "runners", metavar="NAME[@VERSION]=URL", multiple=True, callback=_routes,
    help="Where one workflow, or one version of it, answers instead; may be given several times.",
)  # fmt: skip
@runner_auth_options
@notify_options
@click.option(
    "--hooks-url", metavar="URL",
    help="Where /hooks is reached from outside, such as https://app.example/hooks: what hook URLs begin with. "
    f"{HOOKS_URL_VARIABLE} says it too; an empty text here means none.",
)  # fmt: skip
@click.option("--no-discovery", is_flag=True, help="Do not ask runners which workflows they have.")
@click.option("--db", "database", metavar="FILE", default="workflows.db", show_default=True, help="Made on first use.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Another machine's reach needs a token.")
@click.option("--port", type=click.IntRange(0, 65535), default=DEFAULT_PORT, show_default=True, help="0 takes any.")
@click.option(
    "--workflow", "workflows", metavar="NAME[:RETRIES]", multiple=True, callback=_definition,
    help="Register a workflow; may be given several times.",
)  # fmt: skip
@click.option(
    "--token", envvar="PYLON_WORKFLOW_TOKEN", show_envvar=True, help="What callers show as Authorization: Bearer."
)
@click.option(
    "--allowed-host", "allowed_hosts", metavar="HOST", multiple=True,
    help="A Host that requests may name, such as api.example.com or *.example.com; any when none is given.",
)  # fmt: skip
@click.option(
    "--cors-origin", "cors_origins", metavar="ORIGIN", multiple=True,
    help="A site, such as https://app.example.com, whose pages may use the API; none when none is given.",
)  # fmt: skip
@click.option(
    "--hooks", "hooks_file", metavar="FILE",
    help="Take webhooks at /hooks from the sources in this TOML file; other machines may call them.",
)  # fmt: skip
@codec_option
@click.option(
    "--settings", "settings_file", metavar="FILE",
    help="EngineSettings in a TOML file, such as retain_finished_for = \"7d\"; an option given here goes before it.",
)  # fmt: skip
@click.option("--synchronous", type=click.Choice(["full", "normal"]), default="full", show_default=True,
    help="normal may lose the last moments in a power cut.",
)  # fmt: skip
@click.option("--loop", type=click.Choice(["auto", "asyncio", "uvloop"]), default="auto", show_default=True,
    help="auto takes uvloop where it is installed.",
)  # fmt: skip
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True,
    help="How log lines look.",
)  # fmt: skip
@click.option("--access-log", "has_access_log", is_flag=True, help="Log each request.")
@click.option("--max-body", metavar="BYTES", type=click.IntRange(1), default=Limits().max_body_bytes,
    show_default=True, help="Of a request's body.",
)  # fmt: skip
@click.option("--body-timeout", metavar="SECONDS", type=click.FloatRange(0, min_open=True),
    default=Limits().body_timeout_s, show_default=True, help="For all of a request's body to come.",
)  # fmt: skip
@click.option("--head-timeout", "head_timeout_s", metavar="SECONDS", type=click.FloatRange(0, min_open=True),
    default=10.0, show_default=True, help="For a request's head to come.",
)  # fmt: skip
@click.option("--max-connections", metavar="COUNT", type=click.IntRange(1), help="At a time; what the system allows.")
@click.option("--max-input", "max_input_bytes", metavar="BYTES", type=click.IntRange(1),
    help=f"Of the input of a start, as JSON.  [default: {_DEFAULTS.max_input_bytes}]",
)  # fmt: skip
@click.option("--max-event", "max_event_bytes", metavar="BYTES", type=click.IntRange(1),
    help=f"Of the data of an event, as JSON.  [default: {_DEFAULTS.max_event_bytes}]",
)  # fmt: skip
def serve(
    *,
    token: str | None,
    hooks_file: str | None,
    hooks_url: str | None,
    no_discovery: bool,
    max_body: int,
    body_timeout: float,
    max_input_bytes: int | None,
    max_event_bytes: int | None,
    settings_file: str | None,
    log_format: LogFormat,
    **options: Any,
) -> None:
    """Run an engine and its HTTP API until SIGTERM or Ctrl-C."""
    if token == "":  # `--token "$UNSET"`; an empty variable of the environment is none
        raise click.UsageError("--token: is empty, which would let everybody on this machine in; leave it out for that")
    given: dict[str, Any] = {"max_input_bytes": max_input_bytes, "max_event_bytes": max_event_bytes}
    given = {name: value for name, value in given.items() if value is not None}
    if no_discovery:
        given["has_discovery"] = False
    if hooks_url is not None:
        given["hooks_url"] = hooks_url or None
    try:
        in_file = {} if settings_file is None else load_settings(settings_file)
        settings = ServeOptions(
            token=token,
            hooks=() if hooks_file is None else load_sources(hooks_file, os.environ),
            runner_auth=runner_auth(options),
            webhooks=outbound_webhooks(options),
            limits=Limits(max_body_bytes=max_body, body_timeout_s=body_timeout),
            settings=EngineSettings(**in_file | given),
            **options,
        )
    except InvalidInputError as error:
        raise click.UsageError(str(error)) from None
    configure_logging(log_format)
    try:
        run_server(settings, announce=click.echo)
    except WorkflowError as error:
        raise NotStartedError(str(error)) from None


@click.command("demo")
@click.option("--runner", type=click.Choice(["python", "typescript"]), default="python", show_default=True,
    help="Which kit runs the workflow.",
)  # fmt: skip
def demo(*, runner: str) -> None:
    """See a workflow run, retry, sleep and wait for an event; needs nothing."""
    from pylon_workflows.demo import run  # noqa: PLC0415 -- only this command needs it

    try:
        is_good = run(runner, click.echo)
    except WorkflowError as error:
        raise NotStartedError(str(error)) from None
    sys.exit(0 if is_good else 1)
