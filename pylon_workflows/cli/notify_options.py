"""Options of `serve` about outbound webhooks."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from pylon_workflows.cli.runner_options import value_of
from pylon_workflows.errors import InvalidInputError
from pylon_workflows.outbound_webhooks import OutboundWebhook, check_apart

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--notify-url", "notify_urls", metavar="URL", multiple=True,
        help="Tell this URL, signed, of each instance that completes, fails, is cancelled or blocked; may be given "
        "several times, each with its --notify-secret-env.",
    ),
    click.option(
        "--notify-secret-env", "notify_variables", metavar="VARIABLE", multiple=True,
        help="An environment variable with the secret (whsec_...) that signs what goes to --notify-url, several with "
        "commas between during a change of secrets; once for each --notify-url, in the same order.",
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
    if len(urls) != len(variables):
        raise click.UsageError(
            "--notify-url and --notify-secret-env belong together: one variable for each URL, in the same order, which "
            f"may hold several secrets with commas between; there are {len(urls)} and {len(variables)}"
        )
    try:
        pairs = zip(urls, variables, strict=True)
        webhooks = tuple(OutboundWebhook(url=url, secrets=_secrets(variable)) for url, variable in pairs)
        check_apart(webhooks)
    except InvalidInputError as error:
        raise click.UsageError(str(error)) from None
    return webhooks


def _secrets(variable: str) -> Sequence[str]:
    return [secret.strip() for secret in value_of("--notify-secret-env", variable).split(",")]
