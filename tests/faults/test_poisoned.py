"""PROMISES.md P18: whatever is wrong with one instance's rows, it is that instance's trouble and nobody else's.

Each test poisons one instance of a real file with SQL, beside 20 healthy ones, and starts an engine on it.
"""

import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from datetime import timedelta

import httpx
import pytest
import pytest_asyncio

from pylon_workflows import (
    CorruptDatabaseError,
    EngineSettings,
    LocalRunner,
    UnknownInstanceError,
    UnreadableInstanceError,
    WorkflowDefinition,
    WorkflowEngine,
    create_app,
)
from pylon_workflows.core.instance import Status
from pylon_workflows.doctor import Verdict, examine
from pylon_workflows.store.sqlite import SqliteStore
from pylon_workflows.testing import FakeClock, wait_for_status, wait_until
from runner_protocol.messages import Complete, Sleep, StepComplete, WaitEvent, encode_message, parse_request

pytestmark = pytest.mark.slow

HEALTHY = [f"healthy_{number}" for number in range(20)]

HISTORY = "UPDATE history SET {} WHERE instance = (SELECT key FROM instances WHERE id = 'poisoned')"
ROW = "UPDATE instances SET {} WHERE id = 'poisoned'"
A_STEP = " AND type = 'StepSucceeded'"
THE_START = " AND revision = 1"

UNREADABLE = {
    "a history row is missing": HISTORY.replace("UPDATE history SET {}", "DELETE FROM history") + " AND revision = 2",
    "all of the history is missing": HISTORY.replace("UPDATE history SET {}", "DELETE FROM history"),
    "a revision stands twice": "DROP INDEX history_by_instance; "
    "INSERT INTO history SELECT * FROM history WHERE revision = 2 AND instance = "
    "(SELECT key FROM instances WHERE id = 'poisoned')",
    "a gap before the last revision": HISTORY.format("revision = 9") + A_STEP,
    "a revision that is no number": HISTORY.format("revision = 'three'") + A_STEP,
    "a kind of transition that is unknown": HISTORY.format("type = 'StepTeleported'") + A_STEP,
    "a body that is no JSON": HISTORY.format("body = '{\"key\":'") + A_STEP,
    "a body that is no object": HISTORY.format("body = '[]'") + A_STEP,
    "a body that is not UTF-8": HISTORY.format("body = CAST(x'7b22ff227d' AS TEXT)") + A_STEP,
    "a body of ten megabytes": HISTORY.format("body = CAST(zeroblob(10000000) AS TEXT)") + A_STEP,
    "a field of another type": HISTORY.format("body = json_set(body, '$.position', 'first')") + A_STEP,
    "a field that is null": HISTORY.format("body = json_set(body, '$.name', NULL)") + A_STEP,
    "a field that is missing": HISTORY.format("body = json_remove(body, '$.position')") + A_STEP,
    "a field of a later release": HISTORY.format("body = json_set(body, '$.colour', 'red')") + A_STEP,
    "a negative duration": HISTORY.format("body = json_set(body, '$.duration_ms', -1)") + A_STEP,
    "a payload that is no JSON": HISTORY.format("payload = x'7b22'") + A_STEP,
    "a payload that holds NaN": HISTORY.format("payload = CAST('[NaN]' AS BLOB)") + A_STEP,
    "a payload that is not UTF-8": HISTORY.format("payload = x'22ff22'") + A_STEP,
    "a payload that is text": HISTORY.format("payload = '1'") + A_STEP,
    "a payload that is missing": HISTORY.format("payload = NULL") + A_STEP,
    "a payload where there is none": HISTORY.format("payload = x'31'") + " AND type = 'RunStarted'",
    "a time that is none": HISTORY.format("at = 'noon'") + A_STEP,
    "a time beyond time": HISTORY.format("at = 9000000000000000000") + A_STEP,
    "a beginning that is none": HISTORY.format("type = 'RunStarted', body = '{}', payload = NULL") + THE_START,
    "a second beginning": "UPDATE history SET type = 'InstanceStarted', (body, payload) = "
    "(SELECT body, payload FROM history AS first WHERE first.instance = history.instance AND first.revision = 1) "
    "WHERE instance = (SELECT key FROM instances WHERE id = 'poisoned')" + A_STEP,
    "the history of another instance": HISTORY.format("body = json_set(body, '$.id', 'healthy_1')") + THE_START,
    "an event that nobody sent": HISTORY.format(
        "type = 'EventTaken', payload = NULL, "
        """body = '{"source":2,"key":"event:x","position":0,"started_at":0}'"""
    )
    + A_STEP,
    "a timeout beyond time": HISTORY.format("body = json_set(body, '$.step_timeout', 4611686018427387904)") + THE_START,
    "retries below nothing": HISTORY.format("body = json_set(body, '$.policy.max_retries', -1)") + THE_START,
    "a row whose revision is beyond the history": ROW.format("revision = 99"),
    "a row whose revision is no number": ROW.format("revision = 'three'"),
}
"""The history does not say what happened: the instance is parked."""

ASTRAY = {
    "a status that is unknown": "status = 'dreaming'",
    "a status that is no text": "status = x'ff00'",
    "a status that is empty": "status = ''",
    "sleeping without an end": "status = 'sleeping'",
    "waiting for nothing": "status = 'waiting_for_event'",
    "blocked without a reason": "status = 'blocked'",
    "completed at no time": "status = 'completed'",
    "running and completed": "completed_at = 5",
    "due at a text": "status = 'sleeping', due_at = 'noon'",
    "due beyond time": "status = 'sleeping', due_at = 9000000000000000000",
    "due before 1970": "status = 'sleeping', due_at = -5",
    "a run that is a text": "run = 'first'",
    "a start beyond time": "started_at = 9000000000000000000",
    "a beginning that is a blob": "created_at = x'00'",
    "a name that is not UTF-8": "name = CAST(x'6fff' AS TEXT)",
    "an error that is not UTF-8": "error = CAST(x'6fff' AS TEXT)",
    "the idempotency key of nobody": "idempotency_key = 'astray'",
}
"""The history is whole, the row says something else: the row is written anew from it, and the instance goes on."""


async def answer(body):
    request = parse_request(body)
    is_done = len(request.completed_steps) >= 2
    return 200, encode_message(Complete(output="done") if is_done else StepComplete(step_name="charge", output=1))


class CountingStore(SqliteStore):
    """Counts how often each instance is read."""

    def __init__(self, path):
        super().__init__(path)
        self.reads = Counter()

    async def histories(self, instance_ids):
        self.reads.update(instance_ids)
        return await super().histories(instance_ids)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def template(tmp_path_factory):
    """A file with 20 healthy instances, and 4 to poison: running, sleeping, waiting and completed."""
    path = tmp_path_factory.mktemp("poisoned") / "template.db"
    engine = an_engine(path, runner=None)
    async with engine:
        for instance_id in (*HEALTHY[:10], "poisoned", *HEALTHY[10:], "asleep", "waiting", "completed"):
            await engine.start("order", {"for": instance_id}, id=instance_id)
            await engine.apply(instance_id, StepComplete(step_name="charge", output={"ok": True}))
        await engine.apply("asleep", Sleep(duration="1s"))
        await engine.apply("waiting", WaitEvent(event="paid"))
        await engine.apply("completed", Complete(output="done"))
    return path


@pytest.fixture
def path(template, tmp_path):
    return shutil.copy(template, tmp_path / "orders.db")


def an_engine(path, runner, clock=None):
    settings = EngineSettings(shutdown_grace_s=0)
    engine = WorkflowEngine(runner=runner, store=CountingStore(path), settings=settings, clock=clock)
    engine.register(WorkflowDefinition("order"))
    return engine


def run_sql(path, script):
    with closing(sqlite3.connect(path)) as other:
        other.executescript(script)


def rows_of(path, instance_id):
    with closing(sqlite3.connect(path)) as other:
        other.text_factory = bytes
        key = f"(SELECT key FROM instances WHERE id = '{instance_id}')"
        row = other.execute(f"SELECT * FROM instances WHERE id = '{instance_id}'").fetchall()
        return row, other.execute(f"SELECT * FROM history WHERE instance = {key} ORDER BY rowid").fetchall()


def repair(path, good, instance_id):
    """Put the rows back as they were in the file `good`, as an operator would from a backup."""
    key = f"(SELECT key FROM instances WHERE id = '{instance_id}')"
    script = f"""
        ATTACH '{good}' AS good;
        DELETE FROM history WHERE instance = {key};
        INSERT INTO history SELECT * FROM good.history WHERE instance = {key};
        UPDATE instances SET revision = (SELECT revision FROM good.instances WHERE id = '{instance_id}')
            WHERE id = '{instance_id}';
    """
    run_sql(path, script)


async def is_parked(engine, instance_id):
    blocked = await engine.list(statuses=[Status.BLOCKED])
    return instance_id in [summary.id for summary in blocked if summary.blocked_reason.startswith("unreadable: ")]


async def all_finish(engine, ids):
    for instance_id in ids:
        assert (await engine.wait(instance_id, timeout=20)).output == "done"


@pytest.mark.parametrize("poison", UNREADABLE)
async def test_an_instance_that_cannot_be_read_is_parked_and_the_others_finish(path, template, poison):
    run_sql(path, UNREADABLE[poison])
    before = rows_of(path, "poisoned")
    engine = an_engine(path, LocalRunner(answer))
    store = engine._engine._store
    async with engine:
        await all_finish(engine, HEALTHY)
        await wait_until(lambda: is_parked(engine, "poisoned"))
        shown = await engine.get("poisoned")
        assert (shown.status, shown.id, shown.name, shown.steps) == (Status.BLOCKED, "poisoned", "order", ())
        assert shown.blocked_reason.startswith("unreadable: instance poisoned")
        assert len(shown.blocked_reason) < 600
        for refused in (engine.send_event("poisoned", "x"), engine.cancel("poisoned"), engine.resume("poisoned")):
            with pytest.raises(UnreadableInstanceError, match="poisoned"):
                await refused
        reads = store.reads["poisoned"]
        await all_finish(engine, [await engine.start("order") for _ in range(5)])
        assert store.reads["poisoned"] == reads, "asked about again and again"
        assert rows_of(path, "poisoned")[1] == before[1], "its history was written to"
        repair(path, template, "poisoned")
        assert await engine.resume("poisoned") is Status.RUNNING
        await all_finish(engine, ["poisoned"])
        assert (await engine.list(statuses=[Status.BLOCKED])) == []
    good = rows_of(template, "poisoned")[1]
    assert rows_of(path, "poisoned")[1][: len(good)] == good, "it went on from its own history"


@pytest.mark.parametrize("poison", ASTRAY)
async def test_a_row_that_does_not_say_what_its_history_does_is_written_anew_and_the_instance_goes_on(path, poison):
    run_sql(path, ROW.format(ASTRAY[poison]))
    async with an_engine(path, LocalRunner(answer)) as engine:
        await all_finish(engine, HEALTHY)
        await all_finish(engine, ["poisoned"])
        assert len(await engine.list()) == 24
        assert await engine.list(statuses=[Status.BLOCKED]) == []


async def test_a_sleeper_that_cannot_be_read_is_parked_when_it_is_due(path):
    run_sql(path, UNREADABLE["a payload that is no JSON"].replace("poisoned", "asleep"))
    async with an_engine(path, LocalRunner(answer)) as engine:
        await wait_until(lambda: is_parked(engine, "asleep"))
        await all_finish(engine, [*HEALTHY, "poisoned"])


async def test_one_that_waits_and_cannot_be_read_is_parked_by_its_event_which_is_refused_for_later(path):
    run_sql(path, UNREADABLE["a payload that is no JSON"].replace("poisoned", "waiting"))
    async with (
        an_engine(path, LocalRunner(answer)) as engine,
        httpx.AsyncClient(transport=httpx.ASGITransport(create_app(engine)), base_url="http://localhost") as client,
    ):
        refused = await client.post("/waiting/event", json={"event": "paid"})
        assert (refused.status_code, refused.json()["code"]) == (503, "instance-unreadable")
        assert refused.headers["retry-after"] == "60"
        assert await is_parked(engine, "waiting")
        shown = await client.get("/waiting")
        assert (shown.status_code, shown.json()["status"], shown.json()["input"]) == (200, "blocked", None)
        assert shown.json()["blocked_reason"].startswith("unreadable: instance waiting, revision 3: unreadable: ")
        listed = (await client.get("/?status=blocked")).json()
        assert [item["id"] for item in listed] == ["waiting"]


async def test_one_that_was_parked_by_an_earlier_engine_and_has_been_repaired_goes_on_at_the_next_start(path, template):
    run_sql(path, UNREADABLE["a history row is missing"])
    async with an_engine(path, LocalRunner(answer)) as engine:
        await wait_until(lambda: is_parked(engine, "poisoned"))
    repair(path, template, "poisoned")
    async with an_engine(path, LocalRunner(answer)) as engine:
        await all_finish(engine, ["poisoned"])


async def test_one_that_stays_broken_stays_parked_and_is_not_written_again(path):
    run_sql(path, UNREADABLE["a history row is missing"])
    for _ in range(2):
        async with an_engine(path, LocalRunner(answer)) as engine:
            await all_finish(engine, HEALTHY)
            await wait_until(lambda: is_parked(engine, "poisoned"))
        parked = rows_of(path, "poisoned")
    async with an_engine(path, LocalRunner(answer)) as engine:
        await wait_until(lambda: engine._engine._changes._parking.holds("poisoned"))
    assert rows_of(path, "poisoned") == parked


async def test_a_parked_instance_can_be_deleted_and_its_id_used_again(path):
    run_sql(path, UNREADABLE["a body that is no JSON"])
    async with an_engine(path, LocalRunner(answer)) as engine:
        await wait_until(lambda: is_parked(engine, "poisoned"))
        with pytest.raises(UnreadableInstanceError):
            await engine.start("order", id="poisoned")
        await engine.delete("poisoned")
        with pytest.raises(UnknownInstanceError):
            await engine.get("poisoned")
        assert rows_of(path, "poisoned") == ([], [])
        await engine.start("order", id="poisoned")
        await all_finish(engine, ["poisoned"])


async def test_a_finished_instance_that_cannot_be_read_stays_finished_and_is_shown_and_deleted(path):
    run_sql(path, UNREADABLE["a body that is no JSON"].replace("poisoned", "completed"))
    before = rows_of(path, "completed")
    async with an_engine(path, LocalRunner(answer)) as engine:
        await all_finish(engine, HEALTHY)
        shown = await engine.get("completed")
        assert (shown.status, shown.output) == (Status.COMPLETED, None)
        assert shown.blocked_reason.startswith("unreadable: ")
        assert rows_of(path, "completed") == before
        await engine.delete("completed")
        assert rows_of(path, "completed") == ([], [])


async def test_retention_deletes_no_instance_that_is_parked(path):
    run_sql(path, UNREADABLE["a body that is no JSON"] + ";" + ROW.format("completed_at = 5"))
    engine = an_engine(path, LocalRunner(answer))
    engine._engine._retention._keep_for = timedelta(0)
    async with engine:
        await wait_until(lambda: is_parked(engine, "poisoned"))
        await engine._engine._retention.delete_some()
        assert rows_of(path, "poisoned")[1] != []


async def test_an_instance_that_keeps_its_id_from_being_read_holds_up_nobody(path):
    run_sql(path, "UPDATE instances SET id = CAST(x'6fff' AS TEXT) WHERE id = 'poisoned'")
    async with an_engine(path, LocalRunner(answer)) as engine:
        await all_finish(engine, HEALTHY)
        assert len(await engine.list()) == 24
        with pytest.raises(UnknownInstanceError):
            await engine.get("poisoned")
        await wait_for_status(engine, "asleep", Status.COMPLETED)


TERMS = "UPDATE definitions SET {} WHERE name = 'broken'"
UNREADABLE_DEFINITIONS = {
    "retries below nothing": TERMS.format("max_retries = -1"),
    "retries that are a text": TERMS.format("max_retries = 'three'"),
    "half a retry": TERMS.format("max_retries = 1.5"),
    "retries beyond all": TERMS.format("max_retries = 9000000000000000000"),
    "a timeout of nothing": TERMS.format("step_timeout = 0"),
    "a timeout that is a blob": TERMS.format("step_timeout = x'00'"),
    "a timeout beyond time": TERMS.format("step_timeout = 9000000000000000000"),
    "a backoff below nothing": TERMS.format("initial_backoff = -5"),
    "a backoff beyond its maximum": TERMS.format("initial_backoff = 5, maximum_backoff = 4"),
    "a version that is a blob": TERMS.format("version = x'ff'"),
    "a description that is not UTF-8": TERMS.format("description = CAST(x'6fff' AS TEXT)"),
    "no place at all": TERMS.format("max_in_flight = 0"),
    "places that are a text": TERMS.format("max_in_flight = 'many'"),
    "a source that there is not": TERMS.format("source = 'nowhere'"),
    "a source that is a number": TERMS.format("source = 7"),
    "a schema that is no JSON": TERMS.format("input_schema = '{{'"),
    "a schema that is no object": TERMS.format("input_schema = '[]'"),
    "a name that is empty": TERMS.format("name = ''"),
    "a name that is too long": TERMS.format(f"name = '{'n' * 129}'"),
    "a name that is a blob": TERMS.format("name = x'62726f6b656e'"),
    "a name that is not UTF-8": TERMS.format("name = CAST(x'6fff' AS TEXT)"),
    "a name that is null": "ALTER TABLE definitions RENAME TO former; "
    "CREATE TABLE definitions AS SELECT * FROM former; " + TERMS.format("name = NULL"),
}


@pytest.mark.parametrize("poison", UNREADABLE_DEFINITIONS)
async def test_a_definition_that_cannot_be_read_is_logged_and_the_engine_goes_on_without_it(path, caplog, poison):
    async with an_engine(path, runner=None) as engine:
        for name in ("broken", "healthy"):
            await engine.save_definition(WorkflowDefinition(name))
        await engine.start("broken", id="started")
    assert about(path, "definitions").verdict is Verdict.HEALTHY
    run_sql(path, UNREADABLE_DEFINITIONS[poison])
    found = about(path, "definitions")
    assert (found.verdict, found.text.count("cannot be read: ")) == (Verdict.NEEDS_ACTION, 1)
    found.text.encode()
    async with (
        an_engine(path, LocalRunner(answer)) as engine,
        httpx.AsyncClient(transport=httpx.ASGITransport(create_app(engine)), base_url="http://localhost") as client,
    ):
        assert [message for message in caplog.messages if found.text in message]
        assert [definition.name for definition in await engine.definitions()] == ["healthy", "order"]
        refused = await client.post("/start", json={"name": "broken"})
        assert (refused.status_code, refused.json()["code"]) == (404, "unknown-workflow")
        await all_finish(engine, [*HEALTHY, "started", await engine.start("healthy")])
        engine.register(WorkflowDefinition("broken"))
        await all_finish(engine, [await engine.start("broken")])


async def test_a_definition_that_cannot_be_read_is_mended_by_saving_it_anew(path):
    async with an_engine(path, runner=None) as engine:
        await engine.save_definition(WorkflowDefinition("broken"))
    run_sql(path, UNREADABLE_DEFINITIONS["retries below nothing"])
    async with an_engine(path, runner=None) as engine:
        await engine.save_definition(WorkflowDefinition("broken", max_retries=7))
    async with an_engine(path, LocalRunner(answer)) as engine:
        assert [(each.name, each.max_retries) for each in await engine.definitions()] == [("broken", 7), ("order", 3)]
    assert about(path, "definitions").verdict is Verdict.HEALTHY


SCHEDULE_ROW = "UPDATE schedules SET {} WHERE id = 'broken'"
UNREADABLE_SCHEDULES = {
    "tags that are no JSON": SCHEDULE_ROW.format("tags = '{{'"),
    "tags that are none": SCHEDULE_ROW.format("tags = '[1]'"),
    "an input that is no JSON": SCHEDULE_ROW.format("input = x'7b'"),
    "an input that is a text": SCHEDULE_ROW.format("input = 'x'"),
    "a name that is not UTF-8": SCHEDULE_ROW.format("name = CAST(x'6fff' AS TEXT)"),
    "a cron text that is a blob": SCHEDULE_ROW.format("cron = x'00'"),
    "a way that there is not": SCHEDULE_ROW.format("missed = 'twice'"),
    "a time beyond time": SCHEDULE_ROW.format("created_at = 9000000000000000000"),
    "a last tick that is a text": SCHEDULE_ROW.format("last_at = 'yesterday'"),
}


@pytest.mark.parametrize("poison", UNREADABLE_SCHEDULES)
async def test_a_schedule_that_cannot_be_read_starts_nothing_and_the_others_go_on(path, caplog, poison):
    clock = FakeClock()
    async with an_engine(path, runner=None, clock=clock) as engine:
        for name in ("broken", "healthy"):
            await engine.schedule("0 9 * * *", "order", id=name)
    assert about(path, "schedules").verdict is Verdict.HEALTHY
    run_sql(path, UNREADABLE_SCHEDULES[poison])
    found = about(path, "schedules")
    assert (found.verdict, found.text.count("cannot be read")) == (Verdict.NEEDS_ACTION, 1)
    found.text.encode()
    clock.advance(timedelta(hours=12))
    async with an_engine(path, runner=None, clock=clock) as engine:
        await wait_until(lambda: _has_started(engine, 1))
        assert [each.id for each in await engine.schedules()] == ["healthy"]
        assert (await engine.get_schedule("healthy")).next_at > clock.now()
        with pytest.raises(CorruptDatabaseError, match="the schedule 'broken' cannot be read"):
            await engine.pause_schedule("broken")
        mended = await engine.schedule("0 10 * * *", "order", id="broken")
        assert await engine.get_schedule("broken") == mended
    assert about(path, "schedules").verdict is Verdict.HEALTHY


async def test_a_schedule_whose_next_tick_is_no_time_holds_up_no_other(path):
    clock = FakeClock()
    async with an_engine(path, runner=None, clock=clock) as engine:
        for name in ("broken", "healthy"):
            await engine.schedule("0 9 * * *", "order", id=name)
    for absurd in ("'soon'", "x'00'", "9000000000000000000", "-9000000000000000000"):
        run_sql(path, SCHEDULE_ROW.format(f"next_at = {absurd}"))
        before = clock.now()
        async with an_engine(path, runner=None, clock=clock) as engine:
            clock.advance(timedelta(days=1))
            await wait_until(lambda: _is_moved(engine, clock))
            await engine.unschedule("broken")
            await engine.schedule("0 9 * * *", "order", id="broken")
        assert clock.now() > before


async def _is_moved(engine, clock):
    return (await engine.get_schedule("healthy")).next_at > clock.now()


async def _has_started(engine, count):
    return len(await engine.list(tags={"schedule": "healthy"})) == count


def about(path, what):
    (found,) = [finding for finding in examine(path).findings if finding.about == what]
    return found
