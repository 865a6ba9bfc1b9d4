"""Lines as kits write them are decided together: what comes of them is what comes of their messages, one by one."""

import pytest
from engine_parts import TroubledStore, settled

from pylon_workflows import WorkflowDefinition
from pylon_workflows.errors import StorageFullError
from pylon_workflows.settings import EngineSettings
from pylon_workflows.testing import FakeClock, engine_in_memory
from runner_protocol.action_lines import PlainStep, parse_actions
from runner_protocol.strict_json import encode

END = b'{"action":"complete","output":1}'


def a_line(key, after, *, output=None, **others):
    fields = {
        "action": "step_complete",
        "key": key,
        "after": after,
        "step_name": key.partition("#")[0],
        "duration_ms": 12.405,
        "started_at": "2026-11-21T09:39:04.914Z",
        "completed_at": "2026-11-21T09:39:04.926Z",
        "output": {"of": key} if output is None else output,
    }
    return encode(fields | others)


def lines(count, first=0):
    return [a_line(f"s#{number}", number) for number in range(first, first + count)]


ANSWERS = {
    "a whole workflow": [[*lines(40), END]],
    "several batches": [lines(30), lines(30, 30), [END]],
    "one at a time": [[line] for line in lines(6)],
    "a key that stands twice in a batch": [[*lines(10), a_line("s#3", 10), *lines(5, 20)]],
    "a key of the batch before": [lines(10), [*lines(3, 10), a_line("s#3", 13), END]],
    "after more than there is": [[*lines(5), a_line("late", 9), END]],
    "branches": [[a_line("a", 0), a_line("b", 0), a_line("c", 1), a_line("d", 4), END]],
    "notes and operations among them": [
        [*lines(5), a_line("n", 5, vars={"n": 1}), *lines(5, 6), a_line("o", 11, kind="http", input=[1]), *lines(4, 12)]
    ],
    "a sleep among them": [[*lines(5), b'{"action":"sleep","duration":"1h","key":"sleep"}', *lines(5, 6)]],
    "more records than a run may have": [[*lines(70), END]],
    "more bytes than a run may have": [[a_line(f"b#{number}", number, output="x" * 300) for number in range(40)]],
    "a step as the last that fits": [[*lines(60), END]],
}


async def what_comes_of(batches, made):
    """What the engine makes of an answer whose batches are handed on as `made` of them."""
    handed_on = []

    class Answering:
        async def take_turn(self, turn, apply):
            for batch in batches if not handed_on else ():
                actions, trouble = parse_actions(batch)
                assert trouble is None
                handed_on.append(actions)
                if not await apply(made(actions)):
                    return

    settings = EngineSettings(shutdown_grace_s=0, max_records=60, max_history_bytes=10_000)
    store = TroubledStore()
    engine = engine_in_memory(Answering(), clock=FakeClock(), store=store, settings=settings)
    engine.register(WorkflowDefinition("order"))
    async with engine:
        await engine.start("order", id="a")
        await settled()
        instance, history = await engine.get("a"), await engine.history("a")
    assert any(isinstance(entry, PlainStep) for actions in handed_on for entry in actions.entries)
    return [instance.status, instance.blocked_reason, instance.vars, instance.history_bytes, *instance.steps], [
        (type(each).__name__, each) for each in history[1:] if type(each).__name__ != "AttemptFailed"
    ]


@pytest.mark.parametrize("batches", ANSWERS.values(), ids=ANSWERS)
async def test_plain_steps_come_to_what_their_messages_come_to(batches):
    together, one_by_one = await what_comes_of(batches, lambda actions: actions), await what_comes_of(batches, list)
    assert together == one_by_one
    assert len(together[1]) > 3


async def test_plain_steps_that_a_full_disk_refuses_are_kept():
    clock, store, asked = FakeClock(), TroubledStore(), []

    class Answering:
        async def take_turn(self, turn, apply):
            asked.append(turn)
            store.write_trouble = StorageFullError("full")
            assert await apply(parse_actions(lines(20))[0])
            assert not await apply(parse_actions([*lines(20, 20), END])[0])

    engine = engine_in_memory(Answering(), clock=clock, store=store, settings=EngineSettings(shutdown_grace_s=0))
    engine.register(WorkflowDefinition("order"))
    async with engine:
        await engine.start("order", id="a")
        await settled()
        assert not (await engine.get("a")).steps
        store.write_trouble = None
        clock.advance(1)
        assert len((await engine.wait("a", 5)).steps) == 40
        assert len(asked) == 1
