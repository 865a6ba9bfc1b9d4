"""The command that publishes an event."""

from typing import Any

import click

from pylon_workflows.cli.client import Client
from pylon_workflows.cli.client_command import client_command, json_argument, say
from pylon_workflows.cli.filter_options import tags_of
from runner_protocol.strict_json import encode_parsed


@client_command("publish")
@click.argument("event")
@click.option("--correlation", required=True, metavar="KEY", help="What the instance waits with, such as order:7.")
@click.option("--data", "data_text", metavar="JSON", help="The event's data: JSON, @FILE, or - for standard input.")
@click.option("--event-id", help="Makes repeats harmless: an event is accepted once per id and source.")
@click.option("--source", help="Whose ids these are.")
@click.option("--start", "workflow", metavar="WORKFLOW", help="What the event starts when no instance waits for it.")
@click.option("--start-input", metavar="JSON", help="The input of what it starts: JSON, or @FILE.")
@click.option("--start-id", metavar="ID", help="The id of what it starts; one that there is already keeps the event.")
@click.option("--start-tag", "start_tags", metavar="NAME=VALUE", multiple=True, help="Mark what it starts.")
def publish(
    client: Client,
    as_json: bool,
    *,
    event: str,
    correlation: str,
    data_text: str | None,
    event_id: str | None,
    source: str | None,
    workflow: str | None,
    start_input: str | None,
    start_id: str | None,
    start_tags: tuple[str, ...],
) -> None:
    """Publish EVENT for whichever instance waits for it with the correlation KEY; it is kept until one does."""
    if workflow is None and (start_input is not None or start_id is not None or start_tags):
        raise click.UsageError("--start-input, --start-id and --start-tag are of what --start names")
    body: dict[str, Any] = {"event": event, "correlation": correlation, "event_id": event_id, "source": source or ""}
    if data_text is not None:
        body["data"] = json_argument(data_text, "--data")
    if workflow is not None:
        start: dict[str, Any] = {"name": workflow, "id": start_id, "tags": tags_of(start_tags, "--start-tag")}
        if start_input is not None:
            start["input"] = json_argument(start_input, "--start-input")
        body["start"] = start
    reply = client.call("POST", "/events", body=encode_parsed(body))
    say(reply.value, "had been accepted already" if reply.value["duplicate"] else "accepted", as_json=as_json)


PUBLISH_COMMANDS = (publish,)
