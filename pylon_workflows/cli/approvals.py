"""Deciding about the gates at which instances wait."""

from typing import Any

import click

from pylon_workflows.cli.client import Client
from pylon_workflows.cli.client_command import client_command, json_argument, path_of, say
from runner_protocol.strict_json import encode_parsed


@client_command("approve")
@click.argument("id")
@click.argument("key", required=False)
@click.option("--by", help="Who decides.")
@click.option("--comment", help="Why.")
@click.option("--data", "data_text", metavar="JSON", help="For the workflow: JSON, @FILE, or - for standard input.")
def approve(client: Client, as_json: bool, *, id: str, key: str | None, **decision: str | None) -> None:
    """Approve the gate KEY (approval:NAME) of the instance ID; without KEY the one that is open."""
    _decide(client, id, key, "approve", as_json=as_json, **decision)


@client_command("reject")
@click.argument("id")
@click.argument("key", required=False)
@click.option("--by", help="Who decides.")
@click.option("--comment", help="Why.")
@click.option("--data", "data_text", metavar="JSON", help="For the workflow: JSON, @FILE, or - for standard input.")
def reject(client: Client, as_json: bool, *, id: str, key: str | None, **decision: str | None) -> None:
    """Reject the gate KEY (approval:NAME) of the instance ID; without KEY the one that is open."""
    _decide(client, id, key, "reject", as_json=as_json, **decision)


def _decide(
    client: Client,
    instance_id: str,
    key: str | None,
    decision: str,
    *,
    as_json: bool,
    by: str | None,
    comment: str | None,
    data_text: str | None,
) -> None:
    body: dict[str, Any] = {"decision": decision, "by": by, "comment": comment}
    if data_text is not None:
        body["data"] = json_argument(data_text, "--data")
    key = _open_gate(client, instance_id) if key is None else key
    reply = client.call("POST", path_of(instance_id, "approvals", key), body=encode_parsed(body))
    done = "approved" if decision == "approve" else "rejected"
    said = f"had been {done} already:" if reply.value["duplicate"] else done
    say(reply.value, f"{said} {key} of {instance_id}", as_json=as_json)


def _open_gate(client: Client, instance_id: str) -> str:
    instance = client.call("GET", path_of(instance_id)).value
    if instance["approval"] is None:
        raise click.ClickException(f"{instance_id} is {instance['status']} and waits for no approval")
    key: str = instance["approval"]["key"]
    return key


APPROVAL_COMMANDS = (approve, reject)
