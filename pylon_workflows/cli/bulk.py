"""`cancel` and `resume`, of one instance by its id or of many by a filter."""

import sys
from collections.abc import Callable
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pylon_workflows.cli.client import Client
from pylon_workflows.cli.client_command import client_command, path_of, say
from pylon_workflows.cli.filter_options import filter_options
from pylon_workflows.cli.output import print_json, print_line
from runner_protocol.strict_json import encode_parsed

_PAGE = 200
_Command = Callable[..., None]


def _bulk_options(function: _Command) -> _Command:
    wrapped = filter_options(function)
    for option in (
        click.option("--yes", is_flag=True, help="Do not ask first."),
        click.option("--all", "is_all", is_flag=True, help="Every instance, instead of a filter."),
        click.argument("id", required=False),
    ):
        wrapped = option(wrapped)
    return wrapped


@client_command("cancel")
@_bulk_options
def cancel(client: Client, as_json: bool, *, id: str | None, where: dict[str, Any], is_all: bool, yes: bool) -> None:
    """Cancel the instance ID, or all that have not finished and that the options choose."""
    if _is_one(id, where, is_all=is_all):
        say(client.call("POST", path_of(str(id), "cancel")).value, f"cancelled {id}", as_json=as_json)
    else:
        _change_many(client, "cancel", "cancelled", {**where, "all": is_all}, as_json=as_json, is_sure=yes)


@client_command("resume")
@_bulk_options
def resume(client: Client, as_json: bool, *, id: str | None, where: dict[str, Any], is_all: bool, yes: bool) -> None:
    """Let the blocked instance ID go on, or all blocked ones that the options choose."""
    if _is_one(id, where, is_all=is_all):
        value = client.call("POST", path_of(str(id), "resume")).value
        say(value, f"resumed {id}: {value['status']}", as_json=as_json)
    else:
        _change_many(client, "resume", "resumed", {**where, "all": is_all}, as_json=as_json, is_sure=yes)


def _is_one(id: str | None, where: dict[str, Any], *, is_all: bool) -> bool:
    if (id is not None) + bool(where) + is_all != 1:
        raise click.UsageError("give an ID; or choose with --status, --name, --tag...; or --all, every one")
    return id is not None


def _change_many(client: Client, verb: str, done: str, body: dict[str, Any], *, as_json: bool, is_sure: bool) -> None:
    total = sum(page["count"] for page in _pages(client, verb, {**body, "dry_run": True}))
    if total and not is_sure:
        click.confirm(f"{verb} {_instances(total)}?", abort=True, err=True)
    count, failures = 0, []
    console = Console(stderr=True)
    with Progress(
        TextColumn(verb),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    ) as progress:
        task = progress.add_task(verb, total=total)
        for page in _pages(client, verb, body) if total else ():
            count += page["count"]
            failures += page["failures"]
            progress.update(task, completed=count + len(failures))
    if as_json:
        print_json({"count": count, "failures": failures})
    else:
        print_line(f"{done} {_instances(count)}")
        for failure in failures:
            print_line(f"{failure['id']}: {failure['detail']}")
    if failures:
        sys.exit(1)


def _pages(client: Client, verb: str, body: dict[str, Any]) -> Any:
    after = None
    while True:
        page = client.call("POST", f"/{verb}", body=encode_parsed({**body, "limit": _PAGE, "after": after})).value
        yield page
        after = page["after"]
        if after is None:
            return


def _instances(count: int) -> str:
    return "1 instance" if count == 1 else f"{count:,} instances"
