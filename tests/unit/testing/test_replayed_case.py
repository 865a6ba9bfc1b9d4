"""New code against old histories: it fits, or the place where it does not is named; nothing is run."""

import json

import pytest

from pylon_workflows import WorkflowDefinition
from pylon_workflows.core.transitions import AttemptFailed, StepFailed
from pylon_workflows.errors import InvalidInputError
from pylon_workflows.exports import exported
from pylon_workflows.testing import WorkflowTester, replay_case, replay_history
from pylon_workflows.transition_json import transition_json
from runner_protocol import Context, Runner, StepFailedError, workflow

RAN = []


def a_runner(code):
    return Runner([workflow("order")(code)])


async def charge_then_ship(ctx: Context, input):
    receipt = await ctx.step("charge", RAN.append, "charge")
    await ctx.wait_for_event("paid")
    await ctx.step("ship", RAN.append, "ship")
    return {"receipt": receipt, "amount": input["amount"]}


async def with_a_mail(ctx: Context, input):
    await ctx.step("charge", RAN.append, "charge")
    await ctx.step("mail", RAN.append, "mail")
    await ctx.wait_for_event("paid")
    return {}


async def without_a_wait(ctx: Context, input):
    await ctx.step("charge", RAN.append, "charge")
    await ctx.step("ship", RAN.append, "ship")


async def history_of(code, *, is_paid):
    async with WorkflowTester(a_runner(code), definitions=[WorkflowDefinition("order")]) as tester:
        instance_id = await tester.start("order", {"amount": 42})
        await tester.until_waiting(instance_id, "paid")
        if is_paid:
            await tester.engine.send_event(instance_id, "paid")
            await tester.finish(instance_id)
        return await tester.history(instance_id)


async def test_code_that_has_not_changed_comes_to_the_same():
    history = await history_of(charge_then_ship, is_paid=True)
    RAN.clear()
    case = await replay_history(history, a_runner(charge_then_ship))
    assert (case.is_as_before, case.divergence, case.next_keys) == (True, None, ())
    assert str(case) == "next would be the end, with the output {'receipt': None, 'amount': 42}"
    assert RAN == []


async def test_an_exported_instance_is_replayed_from_its_file(tmp_path):
    history = await history_of(charge_then_ship, is_paid=False)
    case = tmp_path / "case.json"
    case.write_bytes(exported(history, history[-1].at))
    assert (await replay_case(case, a_runner(charge_then_ship))).is_as_before
    assert str(await replay_case(str(case), a_runner(with_a_mail))) == "next would be 'mail'"
    case.write_text("{}")
    with pytest.raises(InvalidInputError, match="format"):
        await replay_case(case, a_runner(charge_then_ship))


async def test_one_that_waits_would_wait_for_the_same():
    history = await history_of(charge_then_ship, is_paid=False)
    RAN.clear()
    case = await replay_history(history, a_runner(charge_then_ship))
    assert (case.is_as_before, str(case)) == (True, "next would be 'event:paid'")
    case = await replay_history(history, a_runner(without_a_wait))
    assert (case.is_as_before, str(case), RAN) == (False, "next would be 'ship'", [])


async def test_code_that_asks_for_something_else_diverges_and_the_place_is_named():
    history = await history_of(charge_then_ship, is_paid=True)
    case = await replay_history(history, a_runner(with_a_mail))
    assert not case.is_as_before
    assert str(case) == "diverges at position 1: the record is 'event:paid', the code asks for 'mail'"


async def test_another_output_is_not_as_before():
    async def dearer(ctx, input):
        return {**await charge_then_ship(ctx, input), "amount": 43}

    case = await replay_history(await history_of(charge_then_ship, is_paid=True), a_runner(dearer))
    assert (case.is_as_before, case.divergence) == (False, None)


async def test_a_workflow_that_the_runner_does_not_have_is_named():
    history = await history_of(charge_then_ship, is_paid=False)
    with pytest.raises(ValueError, match="unknown workflow 'order'"):
        await replay_history(history, Runner([]))


async def hands_out_a_url(ctx: Context, input):
    url = await ctx.step("charge", lambda: ctx.hook_url("psp"))
    return [url, await ctx.wait_for_hook("psp"), ctx.hook_url("psp") == url]


async def test_code_that_hands_out_a_url_is_tested_and_replayed_without_an_outside():
    runner = a_runner(hands_out_a_url)
    async with WorkflowTester(runner, definitions=[WorkflowDefinition("order")]) as tester:
        instance_id = await tester.start("order")
        await tester.until_waiting(instance_id, "hook:psp")
        await tester.engine.send_event(instance_id, "hook:psp", {"paid": True})
        instance = await tester.finish(instance_id)
        history = await tester.history(instance_id)
    url, data, is_the_same = instance.output
    assert url.startswith(f"https://hooks.test/hook/{instance_id}/psp/")
    assert (data, is_the_same) == ({"paid": True}, True)
    case = await replay_history(history[:-1], runner)  # its key is not the file's: the URL is another one
    assert case.divergence is None
    assert case.end is not None


async def test_an_operation_that_failed_replays_and_its_records_say_what_it_was(tmp_path):
    async def check(ctx: Context, input):
        try:
            await ctx.shell("check", ["false"])
        except StepFailedError as error:
            return [error.step_name, error.attempts]

    definition = WorkflowDefinition("order", max_retries=1)
    async with WorkflowTester(a_runner(check), definitions=[definition]) as tester:
        instance = await tester.run("order", {})
        history = await tester.history(instance.id)
    assert instance.output == ["check", 2]
    given = {"command": ["false"]}
    assert [(each.kind, each.input, each.final) for each in instance.steps] == [
        ("shell", given, False),
        ("shell", given, True),
    ]
    failures = [
        json.loads(transition_json(1, each)) for each in history if isinstance(each, AttemptFailed | StepFailed)
    ]
    assert [(each["type"], each["kind"], each["input"]) for each in failures] == [
        ("attempt_failed", "shell", given),
        ("step_failed", "shell", given),
    ]
    case = tmp_path / "case.json"
    case.write_bytes(exported(history, history[-1].at))
    assert (await replay_case(case, a_runner(check))).is_as_before
