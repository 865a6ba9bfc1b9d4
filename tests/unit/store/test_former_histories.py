"""Histories that the first release wrote fold as they did, and what it could do is written as it wrote it."""

from datetime import UTC, datetime, timedelta

import pytest

from pylon_workflows.core.evolution import replay
from pylon_workflows.core.instance import EventWait, InboxEvent, Status
from pylon_workflows.store.codec import decode_history, encode

ROWS = [
    (
        1,
        "InstanceStarted",
        1767225600000000,
        '{"id":"wf_1","name":"order","version":"7","idempotency_key":"signup-42",'
        '"seed":"00000000000000000000000000000000",'
        '"policy":{"max_retries":2,"initial_backoff":1000000,"maximum_backoff":10000000},"step_timeout":30000000,'
        '"due_at":1767225660000000}',
        b'{"user":"alice"}',
    ),
    (2, "WokeUp", 1767225660000000, "{}", None),
    (3, "RunStarted", 1767225660000000, "{}", None),
    (
        4,
        "StepSucceeded",
        1767225661000000,
        '{"key":"charge","name":"charge","position":0,"started_at":1767225660000000,'
        '"completed_at":1767225661000000,"duration_ms":120}',
        b'{"id":"ch_1"}',
    ),
    (
        5,
        "AttemptFailed",
        1767225662000000,
        '{"key":"mail","name":"mail","failures":1,"error":"no route","started_at":1767225661000000,'
        '"completed_at":1767225662000000,"duration_ms":1000,"retry_at":1767225663000000}',
        b'{"type":"SmtpError","message":"no route","code":null,"data":null,"stack":null}',
    ),
    (6, "WokeUp", 1767225670000000, "{}", None),
    (
        7,
        "StepFailed",
        1767225671000000,
        '{"key":"poll","name":"poll","position":1,"failures":1,"error":"gone","started_at":1767225670000000,'
        '"completed_at":1767225671000000,"duration_ms":1000}',
        None,
    ),
    (
        8,
        "SleepStarted",
        1767225672000000,
        '{"key":"sleep","name":"sleep:24h","position":2,"due_at":1767312072000000}',
        None,
    ),
    (9, "WokeUp", 1767312072000000, "{}", None),
    (10, "EventReceived", 1767315600000000, '{"event":"other","event_id":"e1"}', b'{"n":1}'),
    (11, "WaitStarted", 1767315600000000, '{"event":"paid","key":"event:paid","due_at":1767319200000000}', None),
    (12, "EventReceived", 1767315660000000, '{"event":"paid","event_id":null}', b'{"ok":true}'),
    (
        13,
        "EventTaken",
        1767315660000000,
        '{"source":12,"key":"event:paid","position":3,"started_at":1767315600000000}',
        None,
    ),
    (14, "WaitStarted", 1767315661000000, '{"event":"paid","key":"event:paid#2","due_at":1767319261000000}', None),
    (
        15,
        "WaitTimedOut",
        1767320600000000,
        '{"event":"paid","key":"event:paid#2","position":4,"started_at":1767315661000000}',
        None,
    ),
    (16, "InstanceBlocked", 1767320601000000, '{"reason":"why"}', None),
    (17, "InstanceResumed", 1767320602000000, "{}", None),
    (
        18,
        "StepFailed",
        1767320603000000,
        '{"key":"last","name":"last","position":null,"failures":1,"error":"end","started_at":1767320602000000,'
        '"completed_at":1767320603000000,"duration_ms":1000}',
        None,
    ),
    (
        19,
        "InstanceFailed",
        1767320603000000,
        '{"error":"end"}',
        b'{"type":null,"message":"end","code":null,"data":null,"stack":null}',
    ),
]
"""What the first release stored of an instance that does all that there was: revision, type, at, body, payload."""

OTHER_ENDS = [
    (1, *ROWS[0][1:3], ROWS[0][3].replace('"due_at":1767225660000000', '"due_at":null'), b"null"),
    (2, "RunStarted", 1767225660000000, "{}", None),
    (3, "WaitStarted", 1767225661000000, '{"event":"paid","key":"event:paid","due_at":null}', None),
]
COMPLETED = (4, "InstanceCompleted", 1767225662000000, "{}", b'{"done":true}')
CANCELLED = (4, "InstanceCancelled", 1767225662000000, "{}", None)


def at(seconds):
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)


def folded(rows):
    return replay(decode_history("wf_1", rows, revision=len(rows)))


def test_a_history_of_the_first_release_folds_as_it_did():
    instance = folded(ROWS)
    assert (instance.status, instance.revision, instance.current_step, instance.run) == (Status.FAILED, 19, 5, 1)
    assert (instance.name, instance.version, instance.input, instance.max_retries) == (
        "order",
        "7",
        {"user": "alice"},
        2,
    )
    assert (instance.started_at, instance.completed_at) == (at(60), at(95003))
    assert (instance.error, instance.error_detail["message"], instance.history_bytes) == ("end", "end", 106)
    assert (instance.due_at, instance.wait, instance.failures_here, instance.last_error) == (None, None, 0, None)
    assert (instance.last_position_at, instance.blocked_reason) == (at(95000), None)
    assert instance.inbox == (InboxEvent(event="other", data_json=b'{"n":1}', revision=10),)
    assert list(instance.event_ids) == ["e1"]
    assert [
        (each.key, each.name, each.kind, each.status, each.position, each.final, each.timed_out, each.retry_count)
        for each in instance.steps
    ] == [
        ("charge", "charge", "step", "completed", 0, False, False, 0),
        ("mail", "mail", "step", "failed", None, False, False, 1),
        ("poll", "poll", "step", "failed", 1, True, False, 1),
        ("sleep", "sleep:24h", "sleep", "completed", 2, False, False, 0),
        ("event:paid", "event:paid", "event", "completed", 3, False, False, 0),
        ("event:paid#2", "event:paid", "event", "completed", 4, False, True, 0),
        ("last", "last", "step", "failed", None, True, False, 1),
    ]
    assert [each.output for each in instance.steps] == [{"id": "ch_1"}, None, None, None, {"ok": True}, None, None]
    assert [each.duration_ms for each in instance.steps] == [120, 1000, 1000, 86_400_000, 60_000, 4_939_000, 1000]
    assert instance.steps[3].completed_at == at(72 + 86_400)


@pytest.mark.parametrize("count", range(1, len(ROWS) + 1))
def test_every_beginning_of_it_folds(count):
    instance = folded(ROWS[:count])
    assert instance.revision == count
    assert (instance.vars, instance.usage.input_tokens, instance.group, len(instance.children)) == ({}, 0, None, 0)


def test_what_it_waited_for_is_still_waited_for():
    instance = folded(OTHER_ENDS)
    assert instance.wait == EventWait(event="paid", key="event:paid", started_at=at(61))
    assert (instance.status, instance.waiting_for, instance.due_at) == (Status.WAITING_FOR_EVENT, "paid", None)
    assert folded(ROWS[:14]).due_at == at(93661)
    assert folded(ROWS[:1]).due_at == at(60)


def test_its_other_ends_are_ends():
    assert folded([*OTHER_ENDS, COMPLETED]).output == {"done": True}
    assert folded([*OTHER_ENDS, CANCELLED]).status is Status.CANCELLED


@pytest.mark.parametrize("row", [*ROWS, *OTHER_ENDS[1:], COMPLETED, CANCELLED], ids=lambda row: f"{row[0]}-{row[1]}")
def test_what_it_could_do_is_written_as_it_wrote_it(row):
    (transition,) = decode_history("wf_1", [(1, *row[1:])], revision=1)
    assert tuple(encode(transition)) == row[1:]


def test_what_holds_its_default_is_left_out():
    (started,) = decode_history("wf_1", OTHER_ENDS[:1], revision=1)
    assert '"due_at"' not in encode(started).body
