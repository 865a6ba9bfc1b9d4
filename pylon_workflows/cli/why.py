"""Why an instance is where it is."""

from datetime import UTC, datetime
from typing import Any

import click

from pylon_workflows.cli.client import Client
from pylon_workflows.cli.client_command import client_command, path_of
from pylon_workflows.cli.output import print_json, print_line
from pylon_workflows.cli.timeline import length


@client_command("why")
@click.argument("id")
def why(client: Client, as_json: bool, *, id: str) -> None:
    """Say why the instance ID is where it is, and what would let it go on."""
    told = client.call("GET", path_of(id, "explain")).value
    if as_json:
        print_json(told)
        return
    for line in lines(told, datetime.now(UTC)):
        print_line(line)


def lines(told: Any, now: datetime) -> list[str]:
    """An explanation, as `GET /{id}/explain` answers it, in plain words."""
    said = [f"{told['id']}  {told['name']}  {told['status']}", told["summary"]]
    times = []
    if told["since"] is not None:
        passed = _passed(told["since"], now)
        times.append(f"{passed} ago" if told["reason"] == "finished" else f"for {passed}")
    if told["next_at"] is not None:
        times.append(f"goes on by itself {_left(told['next_at'], now)}")
    if times:
        said.append(", ".join(times))
    if told["ways_on"]:
        said += ["what would let it go on:", *(f"  {way}" for way in told["ways_on"])]
    if told["runner_said"] is not None:
        said.append(
            f"the runner last said, {_passed(told['runner_said']['at'], now)} ago: {told['runner_said']['text']}"
        )
    if told["near_misses"]:
        said += ["events that are not the one it waits for:", *(_near_miss(miss, now) for miss in told["near_misses"])]
    others = told.get("other_keys")  # a server of before has none
    if others is not None:
        said.append(f"kept events named {told['waiting_for']!r} under other keys: {others['count']}, the last under")
        said += [f"  {each['correlation']!r}, {_passed(each['received_at'], now)} ago" for each in others["newest"]]
    if told["unread_events"]:
        said.append(f"events in its inbox that nobody has read: {told['unread_events']}")
    return said


def _near_miss(miss: Any, now: datetime) -> str:
    place = "in its inbox" if miss["where"] == "inbox" else "kept for whoever waits for it"
    when = "" if miss["received_at"] is None else f", {_passed(miss['received_at'], now)} ago"
    return f"  {miss['event']!r} ({place}{when}) {miss['why']}"


def _passed(time: str, now: datetime) -> str:
    return length(max(0.0, (now - datetime.fromisoformat(time)).total_seconds()))


def _left(time: str, now: datetime) -> str:
    left = (datetime.fromisoformat(time) - now).total_seconds()
    return f"in {length(left)}" if left > 0 else "now"
