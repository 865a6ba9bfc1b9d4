"""The command that publishes an event."""

from typing import Any

import click

from pylon_workflows.cli.client import Client
from pylon_workflows.cli.client_command import client_command, json_argument, say
from runner_protocol.strict_json import encode_parsed


@client_command("publish")
@click.argument("event")
@click.option("--correlation", required=True, metavar="KEY", help="What the instance waits with, such as order:7.")
@click.option("--data", "data_text", metavar="JSON", help="The event's data: JSON, @FILE, or - for standard input.")
@click.option("--event-id", help="Makes repeats harmless: an event is accepted once per id and source.")
@click.option("--source", help="Whose ids these are.")
def publish(
    client: Client,
    as_json: bool,
    *,
    event: str,
    correlation: str,
    data_text: str | None,
    event_id: str | None,
    source: str | None,
) -> None:
    """Publish EVENT for whichever instance waits for it with the correlation KEY; it is kept until one does."""
    body: dict[str, Any] = {"event": event, "correlation": correlation, "event_id": event_id, "source": source or ""}
    if data_text is not None:
        body["data"] = json_argument(data_text, "--data")
    reply = client.call("POST", "/events", body=encode_parsed(body))
    say(reply.value, "had been accepted already" if reply.value["duplicate"] else "accepted", as_json=as_json)


PUBLISH_COMMANDS = (publish,)
