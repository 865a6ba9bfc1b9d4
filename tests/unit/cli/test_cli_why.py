"""`pylon-workflows why` says in plain words why an instance is where it is."""

import json
from datetime import UTC, datetime

from local_server import LocalServer, Run

from pylon_workflows.cli.why import lines
from pylon_workflows.testing import wait_for_status

TOLD = {
    "id": "order-7",
    "name": "order",
    "status": "waiting_for_event",
    "revision": 4,
    "reason": "event",
    "summary": "waits for the event 'paid' since ...",
    "since": "2026-01-01T09:00:00.000Z",
    "next_at": "2026-01-03T11:00:00.000Z",
    "waiting_for": "paid",
    "ways_on": ["that event: pylon-workflows send-event order-7 paid"],
    "runner_said": {"at": "2026-01-01T09:00:00.000Z", "text": "wait for the event 'paid'"},
    "near_misses": [
        {"event": "payed", "received_at": "2026-01-01T10:59:00.000Z", "where": "inbox", "why": "has another name"},
        {"event": "paid\u001b[2J", "received_at": None, "where": "kept", "why": "does not match"},
    ],
    "other_keys": {
        "count": 3,
        "newest": [
            {"correlation": "Order:7", "received_at": "2026-01-01T10:59:53.000Z"},
            {"correlation": "order:7 ", "received_at": "2026-01-01T10:00:00.000Z"},
        ],
    },
    "unread_events": 3,
}


def test_it_is_said_line_by_line() -> None:
    assert lines(TOLD, datetime(2026, 1, 1, 11, tzinfo=UTC)) == [
        "order-7  order  waiting_for_event",
        "waits for the event 'paid' since ...",
        "for 2h, goes on by itself in 2d",
        "what would let it go on:",
        "  that event: pylon-workflows send-event order-7 paid",
        "the runner last said, 2h ago: wait for the event 'paid'",
        "events that are not the one it waits for:",
        "  'payed' (in its inbox, 1m ago) has another name",
        "  'paid\\x1b[2J' (kept for whoever waits for it) does not match",
        "kept events named 'paid' under other keys: 3, the last under",
        "  'Order:7', 7.00 s ago",
        "  'order:7 ', 1h ago",
        "events in its inbox that nobody has read: 3",
    ]


def test_what_has_finished_was_so_long_ago() -> None:
    finished = {**TOLD, "status": "completed", "reason": "finished", "summary": "has completed", "next_at": None}
    assert lines(finished, datetime(2026, 1, 1, 11, tzinfo=UTC))[1:3] == ["has completed", "2h ago"]


def test_it_is_asked_of_the_server(server: LocalServer, run: Run) -> None:
    server.do(server.engine.start("patient", id="a"))
    server.do(wait_for_status(server.engine, "a", "waiting_for_event"))
    said = run("why", "a", url=server.url)
    assert said.exit_code == 0
    assert said.output.startswith("a  patient  waiting_for_event\nwaits for the event 'paid' since ")
    told = json.loads(run("why", "a", "--json", url=server.url).output)
    assert (told["reason"], told["waiting_for"]) == ("event", "paid")


def test_nobody_is_unknown(server: LocalServer, run: Run) -> None:
    assert run("why", "nobody", url=server.url).exit_code == 1
