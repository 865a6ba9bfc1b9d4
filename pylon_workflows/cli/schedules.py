"""Starting workflows again and again."""

from typing import Any

import click

from pylon_workflows.cli.client import Client
from pylon_workflows.cli.client_command import client_command, json_argument, path_of, say
from pylon_workflows.cli.output import print_json, print_line, print_table
from runner_protocol.strict_json import encode_parsed


@click.group("schedule")
def schedule() -> None:
    """Start workflows at the times of a cron text."""


def _tags(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> Any:
    tags: dict[str, str] = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not equals or name in tags:
            raise click.BadParameter(f"{value!r}: should be NAME=VALUE, each name once")
        tags[name] = text
    return tags


@client_command("add")
@click.argument("cron")
@click.argument("name")
@click.option("--input", "input_text", metavar="JSON", help="The input: JSON, @FILE, or - for standard input.")
@click.option("--id", "schedule_id", help="Made of the rest when absent; that of a schedule there is changes it.")
@click.option("--timezone", metavar="ZONE", help="Such as Europe/Berlin.  [default: UTC]")
@click.option(
    "--missed", type=click.Choice(["once", "skip"]),
    help="For ticks that passed while no engine ran: one start for all, or none.  [default: once]",
)  # fmt: skip
@click.option(
    "--tag", "tags", metavar="NAME=VALUE", multiple=True, callback=_tags, help="Of the instances; repeatable."
)
def add(
    client: Client,
    as_json: bool,
    *,
    cron: str,
    name: str,
    input_text: str | None,
    schedule_id: str | None,
    **terms: Any,
) -> None:
    """Start the workflow NAME at each tick of CRON: minute, hour, day of the month, month, day of the week."""
    body: dict[str, Any] = {"cron": cron, "name": name, "id": schedule_id, **terms}
    if input_text is not None:
        body["input"] = json_argument(input_text, "--input")
    reply = client.call("POST", "/schedules", body=encode_parsed(body))
    done = "added" if reply.status == 201 else "there is"
    say(reply.value, f"{done} {reply.value['id']}: {_next(reply.value)}", as_json=as_json)


@client_command("list")
def list_schedules(client: Client, as_json: bool) -> None:
    """List the schedules."""
    schedules = client.call("GET", "/schedules").value
    if as_json:
        print_json(schedules)
        return
    rows = [
        [each["id"], each["cron"], each["timezone"], each["name"], each["last_at"] or "", _next(each)]
        for each in schedules
    ]
    print_table(["ID", "CRON", "ZONE", "NAME", "LAST", ""], rows)


@client_command("show")
@click.argument("id")
def show(client: Client, as_json: bool, *, id: str) -> None:
    """Show the schedule ID."""
    value = client.call("GET", path_of("schedules", id)).value
    if as_json:
        print_json(value)
        return
    print_line(f"{value['id']}  {value['cron']}  {value['timezone']}  {value['name']}")
    print_line(_next(value))
    if value["last_at"] is not None:
        print_line(f"last {value['last_at']}: {value['last_instance_id']}")
    print_line(f"missed ticks: {value['missed']}")
    for tag, text in value["tags"].items():
        print_line(f"{tag}={text}")
    print_line(encode_parsed(value["input"]).decode())


@client_command("pause")
@click.argument("id")
def pause(client: Client, as_json: bool, *, id: str) -> None:
    """Let the schedule ID start nothing."""
    _change(client, id, "pause", as_json=as_json)


@client_command("resume")
@click.argument("id")
def resume(client: Client, as_json: bool, *, id: str) -> None:
    """Let the paused schedule ID go on with its next tick."""
    _change(client, id, "resume", as_json=as_json)


@client_command("remove")
@click.argument("id")
def remove(client: Client, as_json: bool, *, id: str) -> None:
    """Forget the schedule ID; what it has started goes on."""
    client.call("DELETE", path_of("schedules", id))
    say({"removed": True}, f"removed {id}", as_json=as_json)


for command in (add, list_schedules, show, pause, resume, remove):
    schedule.add_command(command)


def _change(client: Client, schedule_id: str, verb: str, *, as_json: bool) -> None:
    value = client.call("POST", path_of("schedules", schedule_id, verb)).value
    say(value, f"{schedule_id}: {_next(value)}", as_json=as_json)


def _next(value: Any) -> str:
    if value["paused"]:
        return "paused"
    return "never again" if value["next_at"] is None else f"next {value['next_at']}"
