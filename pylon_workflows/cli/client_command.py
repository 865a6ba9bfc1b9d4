"""What the commands that talk to a server share: their options, paths and JSON arguments, and what they say."""

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from pylon_workflows.cli.client import DEFAULT_URL, Client
from pylon_workflows.cli.output import print_json, print_line
from runner_protocol.strict_json import JsonError, parse


def client_command(name: str) -> Callable[[Callable[..., None]], click.Command]:
    """A command whose function gets a `Client` and whether to print JSON, before its own arguments."""

    def decorate(function: Callable[..., None]) -> click.Command:
        @functools.wraps(function)
        def run(*, url: str, token: str | None, as_json: bool, **arguments: Any) -> None:
            function(Client(url, token), as_json, **arguments)

        wrapped: Callable[..., None] = run
        for option in (
            click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts."),
            click.option("--token", envvar="PYLON_WORKFLOW_TOKEN", show_envvar=True, help="The API's token."),
            click.option(
                "--url",
                envvar="PYLON_WORKFLOW_URL",
                show_envvar=True,
                default=DEFAULT_URL,
                show_default=True,
                help="The API's URL.",
            ),
        ):
            wrapped = option(wrapped)
        return click.command(name)(wrapped)

    return decorate


def say(value: Any, sentence: str, *, as_json: bool) -> None:
    """Print the sentence, or the answer for a script."""
    if as_json:
        print_json(value)
    else:
        print_line(sentence)


def path_of(instance_id: str, *more: str) -> str:
    """The path of an instance, or of what it has."""
    return "".join(f"/{quote(part, safe='')}" for part in (instance_id, *more))


def history_of(client: Client, instance_id: str, after: int = 0) -> list[Any]:
    """An instance's history, what follows a revision, through all its pages."""
    query: str | None = f"after={after}"
    entries: list[Any] = []
    while query is not None:
        reply = client.call("GET", f"{path_of(instance_id, 'history')}?{query}")
        entries += reply.value
        query = reply.next_query
    return entries


def json_argument(text: str, option: str) -> Any:
    """The JSON that an option gives, in `@FILE` or on standard input too. Raises click.BadParameter."""
    try:
        if text == "-":
            return parse(sys.stdin.buffer.read())
        return parse(Path(text[1:]).read_bytes() if text.startswith("@") else text)
    except (JsonError, OSError, UnicodeEncodeError) as error:
        raise click.BadParameter(str(error), param_hint=option) from None
