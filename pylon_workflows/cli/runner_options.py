"""Options of `serve` about runners: how they know the engine, and the engine them."""

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from pylon_workflows.errors import InvalidInputError
from pylon_workflows.runner.auth import RunnerAuth

Command = TypeVar("Command", bound=Callable[..., Any])

_FILE = click.Path(exists=True, dir_okay=False)
_OPTIONS = (
    click.option(
        "--runner-secret-env", "secret_variables", metavar="VARIABLE", multiple=True,
        help="An environment variable with a secret (whsec_...) that signs each request to runners; several during a "
        "change of secrets. Without it those of PYLON_WORKFLOW_RUNNER_SECRETS, if it is set.",
    ),
    click.option(
        "--runner-token-env", "token_variable", metavar="VARIABLE",
        help="An environment variable with what runners are shown as Authorization: Bearer.",
    ),
    click.option("--runner-cert", "certificate", metavar="FILE", type=_FILE, help="A client certificate, PEM."),
    click.option("--runner-key", "key", metavar="FILE", type=_FILE, help="The key of --runner-cert, PEM."),
    click.option(
        "--runner-ca", "authority", metavar="FILE", type=_FILE,
        help="Whose certificates of runners are trusted, PEM, in place of the system's.",
    ),
)  # fmt: skip


def runner_auth_options(command: Command) -> Command:
    """Add the options; the command hands `options` to `runner_auth`, which takes its own out."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def runner_auth(options: dict[str, Any]) -> RunnerAuth | None:
    """What the options say; None when they say nothing. Raises click.UsageError."""
    variables: Sequence[str] = options.pop("secret_variables")
    token_variable = options.pop("token_variable")
    certificate, key, authority = (options.pop(name) for name in ("certificate", "key", "authority"))
    if (certificate is None) != (key is None):
        raise click.UsageError("--runner-cert and --runner-key belong together")
    if not variables and token_variable is None and certificate is None and authority is None:
        return None
    try:
        return RunnerAuth(
            secrets=[value_of("--runner-secret-env", name) for name in variables] or None,
            token=None if token_variable is None else value_of("--runner-token-env", token_variable),
            client_certificate=None if certificate is None else (certificate, key),
            ca=authority,
        )
    except InvalidInputError as error:
        raise click.UsageError(str(error)) from None


def value_of(option: str, variable: str) -> str:
    """What an environment variable says that an option names. Raises click.UsageError."""
    value = os.environ.get(variable, "").strip()
    if not value:
        raise click.UsageError(f"{option}: the environment variable {variable[:100]} is not set")
    return value
