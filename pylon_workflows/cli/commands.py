"""The commands that talk to a server: each reads its arguments, makes its calls, prints what came of them."""

import sys
import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import click

from pylon_workflows.cli.bulk import cancel, resume
from pylon_workflows.cli.client import Client
from pylon_workflows.cli.client_command import client_command, history_of, json_argument, path_of, say
from pylon_workflows.cli.filter_options import filter_options, tags_of
from pylon_workflows.cli.output import print_json, print_line, print_table
from pylon_workflows.cli.timeline import compact, length, rows_of, situation, timeline
from pylon_workflows.ports import MAX_PAGE
from runner_protocol.strict_json import encode_parsed

_FINISHED = ("completed", "failed", "cancelled")


@client_command("list")
@filter_options
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="How many, newest first.")
def list_instances(client: Client, as_json: bool, *, where: dict[str, Any], limit: int) -> None:
    """List instances, newest first."""
    tags = [("tag", f"{name}:{value}") for name, value in where.pop("tags", {}).items()]
    query: str | None = urlencode([*where.items(), *tags, ("limit", min(limit, MAX_PAGE))])
    items: list[dict[str, Any]] = []
    while query is not None and len(items) < limit:
        # With its slash, because a FastAPI app that has the API mounted redirects without it.
        reply = client.call("GET", f"/?{query}")
        items += reply.value
        query = reply.next_query
    items = items[:limit]
    if as_json:
        print_json(items)
        return
    now = datetime.now(UTC)
    rows = [
        [
            item["id"],
            item["name"],
            item["status"],
            str(item["current_step"]),
            item["created_at"],
            item["error"] or situation(item, now),
        ]
        for item in items
    ]
    print_table(["ID", "NAME", "STATUS", "STEPS", "CREATED", ""], rows)


@client_command("show")
@click.argument("id")
def show(client: Client, as_json: bool, *, id: str) -> None:
    """Show an instance: its steps, retries and waits as they came."""
    instance = client.call("GET", path_of(id)).value
    history = history_of(client, id)
    if as_json:
        print_json({**instance, "history": history})
        return
    print_line(f"{instance['id']}  {instance['name']}  {instance['status']}")
    print_line(f"created {instance['created_at']}")
    print_table(
        ["AT", "WHAT", "NAME", "TOOK", ""],
        [
            [
                f"+{length(row.offset_s)}",
                row.what,
                row.name,
                "" if row.took_s is None else length(row.took_s),
                row.detail,
            ]
            for row in timeline(history)
        ],
    )
    if any((entry.get("detail") or {}).get("stack") for entry in history):
        print_line(f"tracebacks: pylon-workflows history {instance['id']} --json, field stack")
    now = situation(instance, datetime.now(UTC))
    if now:
        print_line(now)
    if instance["status"] == "blocked":
        print_line(f"when that is mended: pylon-workflows resume {instance['id']}")


@client_command("history")
@click.argument("id")
@click.option("--after", type=click.IntRange(min=0), default=0, help="Only what follows this revision.")
def history(client: Client, as_json: bool, *, id: str, after: int) -> None:
    """Show all that has happened to the instance ID, a line a transition."""
    if as_json:
        print_json(history_of(client, id, after))
        return
    rows = [
        [
            str(entry["revision"]),
            entry["at"],
            row.what,
            row.name,
            "" if row.took_s is None else length(row.took_s),
            row.detail,
        ]
        for entry, row in rows_of(history_of(client, id))
        if entry["revision"] > after
    ]
    print_table(["REVISION", "AT", "WHAT", "NAME", "TOOK", ""], rows)


@client_command("start")
@click.argument("name")
@click.option("--input", "input_text", metavar="JSON", help="The input: JSON, @FILE, or - for standard input.")
@click.option("--id", "instance_id", help="The instance's id; made up when absent.")
@click.option("--idempotency-key", help="A repeated start with this key finds the first one's instance.")
@click.option("--tag", "tags", metavar="NAME=VALUE", multiple=True, help="Mark it, for lists; may be repeated.")
@click.option("--delay", help="Begin after this long, such as 30s, 24h.")
@click.option("--at", metavar="TIME", help="Begin at this time, in RFC 3339: 2026-12-01T09:00:00Z.")
@click.option("--parent", metavar="ID", help="The instance under which lists show it.")
@click.option("--wait", "is_waiting", is_flag=True, help="Wait until it has finished; exit 1 unless it completed.")
def start(
    client: Client,
    as_json: bool,
    *,
    name: str,
    input_text: str | None,
    instance_id: str | None,
    idempotency_key: str | None,
    tags: tuple[str, ...],
    delay: str | None,
    at: str | None,
    parent: str | None,
    is_waiting: bool,
) -> None:
    """Start an instance of the workflow NAME."""
    body: dict[str, Any] = {"name": name, "id": instance_id, "idempotency_key": idempotency_key}
    body |= {"tags": tags_of(tags), "delay": delay, "at": at, "parent_id": parent}
    if input_text is not None:
        body["input"] = json_argument(input_text, "--input")
    reply = client.call("POST", "/start", body=encode_parsed(body))
    if is_waiting:
        _report(_finished(client, reply.value["id"]), as_json=as_json)
    elif as_json:
        print_json(reply.value)
    else:
        print_line(f"{'started' if reply.status == 201 else 'had been started already:'} {reply.value['id']}")


@client_command("send-event")
@click.argument("id")
@click.argument("event")
@click.option("--data", "data_text", metavar="JSON", help="The event's data: JSON, @FILE, or - for standard input.")
@click.option("--event-id", help="Makes repeats harmless: an event is accepted once per id.")
def send_event(
    client: Client, as_json: bool, *, id: str, event: str, data_text: str | None, event_id: str | None
) -> None:
    """Send EVENT to the instance ID."""
    body: dict[str, Any] = {"event": event, "event_id": event_id}
    if data_text is not None:
        body["data"] = json_argument(data_text, "--data")
    reply = client.call("POST", path_of(id, "event"), body=encode_parsed(body))
    said = "had been accepted already" if reply.value["duplicate"] else "accepted"
    say(reply.value, said, as_json=as_json)


@client_command("delete")
@click.argument("id")
def delete(client: Client, as_json: bool, *, id: str) -> None:
    """Delete the finished instance ID."""
    client.call("DELETE", path_of(id))
    say({"deleted": True}, f"deleted {id}", as_json=as_json)


CLIENT_COMMANDS = (list_instances, show, history, start, send_event, cancel, resume, delete)


def _finished(client: Client, instance_id: str) -> Any:
    """The instance once it has finished, or is blocked: then nothing happens before somebody acts."""
    pause_s = 0.05
    while True:
        instance = client.call("GET", path_of(instance_id)).value
        if instance["status"] in _FINISHED or instance["status"] == "blocked":
            return instance
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, 1.0)


def _report(instance: Any, *, as_json: bool) -> None:
    came_of_it = compact(instance["output"]) or instance["error"] or instance["blocked_reason"] or ""
    say(instance, f"{instance['id']} {instance['status']} {came_of_it}".rstrip(), as_json=as_json)
    if instance["status"] != "completed":
        sys.exit(1)
