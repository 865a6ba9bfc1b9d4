"""Options of `serve` about outbound webhooks."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from pylon_workflows.cli.runner_options import value_of
from pylon_workflows.errors import InvalidInputError
from pylon_workflows.outbound_webhooks import OutboundWebhook

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--notify-url", "notify_urls", metavar="URL", multiple=True,
        help="Tell this URL, signed, of each instance that completes, fails, is cancelled or blocked; may be given "
        "several times.",
    ),
    click.option(
        "--notify-secret-env", "notify_variables", metavar="VARIABLE", multiple=True,
        help="An environment variable with a secret (whsec_...) that signs what goes to --notify-url; several during a "
        "change of secrets.",
    ),
)  # fmt: skip


def notify_options(command: Command) -> Command:
    """Add the options; the command hands `options` to `outbound_webhooks`, which takes its own out."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def outbound_webhooks(options: dict[str, Any]) -> Sequence[OutboundWebhook]:
    """What the options say. Raises click.UsageError."""
    urls: Sequence[str] = options.pop("notify_urls")
    variables: Sequence[str] = options.pop("notify_variables")
    if bool(urls) != bool(variables):
        raise click.UsageError("--notify-url and --notify-secret-env belong together")
    secrets = [value_of("--notify-secret-env", name) for name in variables]
    try:
        return tuple(OutboundWebhook(url=url, secrets=secrets) for url in urls)
    except InvalidInputError as error:
        raise click.UsageError(str(error)) from None
