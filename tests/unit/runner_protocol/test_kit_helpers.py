"""Each helper of version 2: what it asks of the engine, and what it gives to the code."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import playing
import pytest
from playing import Play, ask, record

from runner_protocol import (
    Approval,
    Context,
    NonRetryableError,
    OutputError,
    Runner,
    StepFailedError,
    TimedOutError,
    current_step,
    workflow,
)


@pytest.fixture(autouse=True, params=[True, False], ids=["streams", "turns"])
def stream(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(playing, "STREAM", request.param)
    return bool(request.param)


async def echo(value: Any) -> Any:
    return value


@pytest.mark.parametrize(
    ("backoff", "delays"),
    [("30s", ["30s", "30s"]), (2, ["2s", "2s"]), (lambda number: number * 10, ["10s", "20s"])],
)
async def test_a_step_waits_between_its_attempts_as_it_says(backoff: Any, delays: list[str]) -> None:
    @workflow("backoff")
    async def failing(ctx: Context, _: Any) -> Any:
        def fail() -> None:
            if current_step().number < 3:
                raise ValueError("no")

        await ctx.step("work", fail, backoff=backoff)

    play = Play(failing)
    await play.run()
    assert [answer["retry_after"] for answer in play.answers if answer["action"] == "fail"] == delays


async def test_a_step_says_which_errors_are_worth_another_attempt() -> None:
    @workflow("picky")
    async def picky(ctx: Context, input: str) -> Any:
        def fail() -> None:
            raise ConnectionError("away") if input == "away" else KeyError("bug")

        await ctx.step("work", fail, retry_if=lambda error: isinstance(error, ConnectionError))

    assert "retryable" not in await ask(picky, input="away")
    assert (await ask(picky, input="bug"))["retryable"] is False


async def test_a_backoff_or_a_retry_if_that_fails_decides_nothing(caplog: pytest.LogCaptureFixture) -> None:
    @workflow("broken")
    async def broken(ctx: Context, _: Any) -> Any:
        def fail() -> None:
            raise ValueError("the step's own")

        await ctx.step("work", fail, backoff=lambda number: -number, retry_if=lambda error: error.nothing)  # type: ignore[attr-defined]

    answer = await ask(broken)
    assert answer["error"]["message"] == "the step's own"
    assert "retryable" not in answer
    assert "retry_after" not in answer
    assert "a backoff has failed" in caplog.text
    assert "a retry_if has failed" in caplog.text


async def test_an_error_has_a_code_and_data_for_people() -> None:
    class DeclinedError(Exception):
        code = "card-declined"
        data = {"left": 3}  # noqa: RUF012

    class OddError(Exception):
        code = 3.5
        data = {1: object()}  # noqa: RUF012

    @workflow("declined")
    async def declined(ctx: Context, input: bool) -> Any:
        def fail() -> None:
            raise OddError if input else DeclinedError("no")

        await ctx.step("work", fail)

    error = (await ask(declined, input=False))["error"]
    assert (error["code"], error["data"]) == ("card-declined", {"left": 3})
    odd = (await ask(declined, input=True))["error"]
    assert "code" not in odd
    assert "data" not in odd


async def test_a_sleep_may_have_an_end() -> None:
    @workflow("until")
    async def until(ctx: Context, _: Any) -> Any:
        await ctx.sleep_until(datetime(2026, 12, 1, 10, 0, 0, 123456, tzinfo=timezone(timedelta(hours=1))))
        await ctx.sleep_until("2026-12-02T09:00:00Z", name="launch")
        return ctx.now().isoformat()

    play = Play(until)
    assert await play.run() == "2026-12-02T09:00:00+00:00"
    assert play.answers[:2] == [
        {"action": "sleep", "until": "2026-12-01T09:00:00.124Z", "key": "sleep", "after": 0},
        {"action": "sleep", "until": "2026-12-02T09:00:00.000Z", "name": "launch", "key": "sleep:launch", "after": 1},
    ]


async def test_a_wait_has_a_match_and_a_correlation() -> None:
    @workflow("matching")
    async def matching(ctx: Context, _: Any) -> Any:
        return await ctx.wait_for_event("paid", match={"order.id": 7}, correlation="order:7", timeout="3d")

    play = Play(matching, events={"paid": [{"order": {"id": 7}}]})
    assert await play.run() == {"order": {"id": 7}}
    assert play.answers[0] == {
        "action": "wait_event",
        "event": "paid",
        "key": "event:paid",
        "after": 0,
        "timeout": "3d",
        "match": {"order.id": 7},
        "correlation": "order:7",
    }


async def test_a_wait_may_fail_when_its_time_is_over() -> None:
    @workflow("strict")
    async def strict(ctx: Context, _: Any) -> Any:
        try:
            await ctx.wait_for_event("paid", timeout="1h", on_timeout="fail")
        except TimedOutError as error:
            return [error.step_name, error.key, error.kind, str(error)]

    play = Play(strict)
    assert await play.run() == ["paid", "event:paid", "event", "timed out waiting for event 'paid'"]
    assert play.answers[0]["on_timeout"] == "fail"


DECIDED = {"approved": True, "by": "ada", "comment": "go", "data": {"n": 1}, "at": "2026-01-01T12:00:00.000Z"}


async def test_an_approval_is_a_decision() -> None:
    decisions: list[Approval] = []

    @workflow("gate")
    async def gate(ctx: Context, _: Any) -> Any:
        decisions.clear()
        decisions.append(await ctx.approval("ship", message="Ship it?", data={"build": 3}))
        decisions.append(await ctx.approval("ship", timeout="2d"))
        return ["yes" if decision else "no" for decision in decisions]

    play = Play(gate, decisions={"ship": [{**DECIDED, "timed_out": False}]})
    assert await play.run() == ["yes", "no"]
    at = datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert decisions[0] == Approval(approved=True, by="ada", comment="go", data={"n": 1}, at=at)
    assert decisions[1] == Approval(approved=False, timed_out=True)
    assert play.answers[:2] == [
        {
            "action": "approval",
            "name": "ship",
            "key": "approval:ship",
            "after": 0,
            "message": "Ship it?",
            "data": {"build": 3},
        },
        {"action": "approval", "name": "ship", "key": "approval:ship#2", "after": 1, "timeout": "2d"},
    ]


async def test_an_approval_may_fail_when_its_time_is_over() -> None:
    @workflow("gate")
    async def gate(ctx: Context, _: Any) -> Any:
        await ctx.approval("ship", timeout="2d", on_timeout="fail")

    play = Play(gate)
    await play.turn()
    await play.turn()
    assert play.failure is not None
    assert play.failure["error"]["type"] == "TimedOutError"
    assert play.failure["error"]["message"] == "timed out waiting for approval 'ship'"
    assert play.failure["retryable"] is False


async def test_a_step_may_be_skipped() -> None:
    @workflow("skipping")
    async def skipping(ctx: Context, input: bool) -> Any:
        before = await ctx.step("before", echo, 1)
        began = ctx.now()
        skipped = await ctx.skip("remind", "the profile is complete")
        return [before, skipped, ctx.now() == began, await ctx.step("after", echo, 2)]

    play = Play(skipping)
    assert await play.run() == [1, None, True, 2]
    assert play.answers[1] == {
        "action": "step_skip",
        "step_name": "remind",
        "key": "remind",
        "reason": "the profile is complete",
        "after": 1,
    }
    replayed = Play(skipping)
    replayed.records = play.records
    assert await replayed.run() == play.result


async def test_a_skip_of_what_has_run_diverges() -> None:
    @workflow("skipping")
    async def skipping(ctx: Context, _: Any) -> Any:
        await ctx.skip("remind", "no")

    answer = await ask(skipping, [record("remind", position=0)])
    assert (answer["action"], answer["expected"], answer["got"]) == ("diverged", "remind (a step)", "remind (a skip)")


async def test_members_of_a_parallel_are_asked_for_one_by_one() -> None:
    ran: list[str] = []

    class Copy:
        kind = "copy"
        input = {"from": "a"}  # noqa: RUF012

        async def execute(self) -> str:
            ran.append(current_step().key)
            return "copied"

    @workflow("parallel")
    async def parallel(ctx: Context, input: int) -> Any:
        def double(number: int) -> int:
            ran.append(ctx.idempotency_key)
            return number * 2

        before = await ctx.step("before", echo, input)
        done = await ctx.parallel("checks", {"lint": (double, before), "copy": Copy(), "test": lambda: "ok"})
        return [done, await ctx.step("after", echo, "after")]

    play = Play(parallel, 4)
    assert await play.run() == [{"lint": 8, "copy": "copied", "test": "ok"}, "after"]
    group = next(answer for answer in play.answers if answer["action"] == "parallel")
    assert group == {
        "action": "parallel",
        "name": "checks",
        "key": "checks",
        "after": 1,
        "members": [{"name": "lint", "input": 4}, {"name": "copy", "input": {"from": "a"}}, {"name": "test"}],
    }
    assert play.keys() == ["before", "checks", "checks/test", "checks/copy", "checks/lint", "after"]
    assert ran == ["checks/copy", "wf_1:1:checks/lint"]
    copied = next(answer for answer in play.answers if answer.get("key") == "checks/copy")
    assert (copied["kind"], copied["input"]) == ("copy", {"from": "a"})


async def test_a_map_gives_its_outputs_in_the_order_of_its_items() -> None:
    @workflow("map")
    async def mapped(ctx: Context, input: list[int]) -> Any:
        def flaky(number: int) -> int:
            if number == 3 and current_step().number < 3:
                raise ValueError(f"attempt {current_step().number} after {current_step().last_error}")
            return number * 2

        return [await ctx.map("resize", input, flaky, max_in_flight=2), await ctx.map("resize", (), flaky)]

    play = Play(mapped, [1, 2, 3])
    assert await play.run() == [[2, 4, 6], []]
    assert play.answers[0] == {
        "action": "map",
        "name": "resize",
        "key": "resize",
        "after": 0,
        "items": [1, 2, 3],
        "max_in_flight": 2,
    }
    failures = [answer["error"]["message"] for answer in play.answers if answer["action"] == "fail"]
    assert failures == ["attempt 1 after None", "attempt 2 after attempt 1 after None"]


async def test_a_failed_group_can_be_caught() -> None:
    @workflow("map")
    async def mapped(ctx: Context, _: Any) -> Any:
        def work(number: int) -> int:
            if number == 2:
                raise NonRetryableError("no")
            return number

        try:
            await ctx.map("resize", [1, 2, 3], work, fail_fast=False)
        except StepFailedError as error:
            return [error.kind, error.step_name, str(error)]

    assert await Play(mapped).run() == ["map", "resize", "1 of 3 members failed"]


async def test_the_options_of_a_group_are_each_members() -> None:
    @workflow("map")
    async def mapped(ctx: Context, _: Any) -> Any:
        def work(_: int) -> None:
            raise ValueError("no")

        await ctx.map("resize", [1], work, retries=1, backoff="5s")

    play = Play(mapped)
    await play.turn()
    await play.turn()
    assert (play.answers[1]["max_retries"], play.answers[1]["retry_after"]) == (1, "5s")


async def test_a_map_within_a_gather() -> None:
    @workflow("both")
    async def both(ctx: Context, _: Any) -> Any:
        async def branch(name: str) -> Any:
            first = await ctx.step(name, echo, name)
            return await ctx.map("same", [f"{first}{number}" for number in range(3)], echo)

        return await asyncio.gather(branch("a"), branch("b"), ctx.sleep("1h"))

    play = Play(both)
    assert await play.run() == [["a0", "a1", "a2"], ["b0", "b1", "b2"], None]


async def member(tested: Any, **member: Any) -> Any:
    given = {"group": "resize", "name": "resize", "key": "resize[0]", "index": 0, "total": 1, "input": 1, **member}
    return await ask(tested, mode="run_step", member=given)


async def test_a_member_that_the_code_does_not_have_diverges() -> None:
    @workflow("map")
    async def mapped(ctx: Context, input: str) -> Any:
        await ctx.parallel("checks", {"lint": lambda: 1})

    no_group = await member(mapped)
    assert (no_group["action"], no_group["expected"], no_group["got"]) == ("diverged", "resize[0]", "checks")
    no_member = await member(mapped, group="checks", name="test", key="checks/test")
    assert (no_member["expected"], no_member["got"]) == ("checks/test", "checks (a parallel) without this member")

    @workflow("ended")
    async def ended(ctx: Context, _: Any) -> Any:
        return 1

    assert (await member(ended))["got"] == "the end of the workflow"


async def test_a_member_has_notes_of_its_own_and_none_of_the_function() -> None:
    @workflow("map")
    async def mapped(ctx: Context, _: Any) -> Any:
        def work(number: int) -> int:
            ctx.usage(input_tokens=number)
            ctx.log.info("in %s", current_step().key)
            return number

        ctx.usage(output_tokens=5)
        return await ctx.map("resize", [1, 2], work)

    play = Play(mapped)
    assert await play.run() == [1, 2]
    assert play.tokens == [3, 5]
    assert play.logs == ["info in resize[1]", "info in resize[0]"]


async def test_a_child_gives_its_output_and_may_be_left_to_itself() -> None:
    @workflow("shipping")
    async def shipping(ctx: Context, _: Any) -> Any: ...

    @workflow("order")
    async def order(ctx: Context, _: Any) -> Any:
        shipped = await ctx.child(shipping, {"n": 1})
        left = await ctx.child("mail", name="notice", id="mail-7", wait=False, on_parent_close="abandon")
        try:
            await ctx.child("refund")
        except StepFailedError as error:
            return [shipped, left, error.kind, str(error)]

    def refund(_: Any) -> None:
        raise ValueError("no money")

    play = Play(order, children={"shipping": lambda given: given["n"] + 1, "refund": refund})
    assert await play.run() == [2, {"workflow_id": "mail-7"}, "child", "child 'refund' failed: no money"]
    assert play.answers[:2] == [
        {
            "action": "start_child",
            "name": "shipping",
            "key": "child:shipping",
            "after": 0,
            "workflow": "shipping",
            "input": {"n": 1},
        },
        {
            "action": "start_child",
            "name": "notice",
            "key": "child:notice",
            "after": 1,
            "workflow": "mail",
            "id": "mail-7",
            "wait": False,
            "on_parent_close": "abandon",
        },
    ]


async def test_a_run_may_be_followed_by_the_next() -> None:
    @workflow("cursor")
    async def cursor(ctx: Context, input: int) -> Any:
        try:
            page = await ctx.step("page", echo, input)
            ctx.set(pages=ctx.vars.get("pages", 0) + 1)
            if page < 3:
                await ctx.continue_as_new(page + 1)
        except Exception:
            return "swallowed"
        return [ctx.run, page, dict(ctx.vars)]

    play = Play(cursor, 1)
    assert await play.run() == [3, 3, {"pages": 3}]
    assert [answer["input"] for answer in play.answers if answer["action"] == "continue_as_new"] == [2, 3]


async def test_the_end_of_a_run_comes_before_other_waits_and_after_steps(stream: bool) -> None:
    @workflow("ending")
    async def ending(ctx: Context, input: Any) -> Any:
        if input is None:
            await asyncio.gather(ctx.sleep("1h"), ctx.step("work", echo, 1), ctx.continue_as_new("next"))
        return input

    play = Play(ending)
    assert await play.run() == "next"
    assert [answer["action"] for answer in play.answers] == ["step_complete", "continue_as_new", "complete"]


async def test_who_forgets_to_await_the_end_of_a_run_has_asked_for_it_all_the_same() -> None:
    @workflow("forgetful")
    async def forgetful(ctx: Context, input: Any) -> Any:
        if input is None:
            ctx.continue_as_new("next")
        return input

    assert await Play(forgetful).run() == "next"


async def test_an_operation_is_recorded_with_its_kind_and_input() -> None:
    class Copy:
        kind = "s3-copy"

        def __init__(self, source: str) -> None:
            self.input = {"source": source}

        async def execute(self) -> str:
            return f"copied {self.input['source']}"

    @workflow("copying")
    async def copying(ctx: Context, _: Any) -> Any:
        return await ctx.operation("copy", Copy("a"), retries=2)

    play = Play(copying)
    assert await play.run() == "copied a"
    assert (play.answers[0]["kind"], play.answers[0]["input"]) == ("s3-copy", {"source": "a"})


class Fragile:
    kind = "s3-copy"

    def __init__(self, failures: int, given: Any) -> None:
        self.input = given
        self._failures = failures

    async def execute(self) -> str:
        if current_step().number <= self._failures:
            raise ConnectionError("away")
        return "copied"


async def test_an_operation_that_fails_is_recorded_with_its_kind_and_input_and_replays() -> None:
    @workflow("copying")
    async def copying(ctx: Context, _: Any) -> Any:
        copied = await ctx.operation("copy", Fragile(2, {"from": "a"}))
        try:
            await ctx.operation("copy", Fragile(9, {"from": "b"}), retries=1)
        except StepFailedError as error:
            return [copied, error.kind, error.attempts, await ctx.step("plain", echo, 1)]

    play = Play(copying)
    assert await play.run() == ["copied", "step", 2, 1]
    done = [(answer["action"], answer["kind"], answer["input"]["from"]) for answer in play.answers if "kind" in answer]
    fails, copies = ("fail", "s3-copy"), ("step_complete", "s3-copy")
    assert done == [(*fails, "a"), (*fails, "a"), (*copies, "a"), (*fails, "b"), (*fails, "b")]
    assert [(record["kind"], record["final"]) for record in play.records if record["status"] == "failed"] == [
        ("s3-copy", False),
        ("s3-copy", False),
        ("s3-copy", False),
        ("s3-copy", True),
    ]
    again = Play(copying)
    again.records = play.records
    assert await again.run() == play.result
    assert len(again.answers) == 1


async def test_a_plain_step_that_fails_says_no_kind() -> None:
    @workflow("plain")
    async def plain(ctx: Context, _: Any) -> Any:
        await ctx.step("work", int, "x")

    failed = await ask(plain)
    assert failed["action"] == "fail"
    assert failed.keys() & {"kind", "input"} == set()


async def test_an_input_that_leaves_no_room_for_the_error_is_left_out_of_a_failure() -> None:
    large = "x" * (4 * 1024 * 1024 - 400)

    class Copy(Fragile):
        async def execute(self) -> str:
            await super().execute()
            return 2 * large if self.input == "small" else "copied"

    @workflow("copying")
    async def copying(ctx: Context, input: dict[str, Any]) -> Any:
        given = "small" if input["output"] else large
        await ctx.operation("copy", Copy(input["failures"], given))

    failed = await ask(copying, input={"failures": 1, "output": False})
    assert (failed["action"], failed["key"], failed["kind"], failed["error"]["message"]) == (
        "fail",
        "copy",
        "s3-copy",
        "away",
    )
    assert "input" not in failed
    assert "retryable" not in failed
    done = await ask(copying, input={"failures": 0, "output": False})
    assert (done["action"], done["kind"]) == ("step_complete", "s3-copy")
    too_large = await ask(copying, input={"failures": 0, "output": True})
    assert (too_large["action"], too_large["key"], too_large["kind"], too_large["input"]) == (
        "fail",
        "copy",
        "s3-copy",
        "small",
    )
    assert too_large["retryable"] is False


async def test_a_context_knows_its_parent_its_version_and_how_long_it_has_become() -> None:
    @workflow("facts", version="2")
    async def facts(ctx: Context, _: Any) -> Any:
        sizes = [ctx.history.model_dump()]
        await ctx.step("a", echo, [1, 2])
        sizes.append(ctx.history.model_dump())
        await ctx.step("b", echo, "xyz")
        sizes.append(ctx.history.model_dump())
        return [ctx.workflow_version, ctx.parent and ctx.parent.workflow_id, sizes]

    expected = [{"steps": 0, "bytes": 0}, {"steps": 1, "bytes": 5}, {"steps": 2, "bytes": 10}]
    play = Play(facts)
    assert (await play.run())[2] == expected
    changes = {"workflow_version": "2", "parent": {"workflow_id": "wf_0", "key": "child:x"}}
    assert (await ask(facts, play.records, **changes))["output"] == ["2", "wf_0", expected]


async def test_what_a_step_draws_does_not_move_what_the_function_draws() -> None:
    @workflow("drawing")
    async def drawing(ctx: Context, _: Any) -> Any:
        await ctx.step("draw", lambda: [ctx.random(), str(ctx.uuid())])
        return ctx.random()

    play = Play(drawing)
    live = await play.run()
    again = Play(drawing)
    again.records = play.records
    assert await again.run() == live


async def test_the_idempotency_key_is_a_steps() -> None:
    @workflow("keys")
    async def keys(ctx: Context, _: Any) -> Any:
        with pytest.raises(RuntimeError, match="only inside a step"):
            _ = ctx.idempotency_key
        return await ctx.step("work", lambda: ctx.idempotency_key)

    assert await Play(keys).run() == "wf_1:1:work"


class NoOperation:
    kind = "step" * 40
    input = None

    async def execute(self) -> None: ...


REFUSED: list[tuple[type[Exception], str, Callable[[Context], Any]]] = [
    (ValueError, "timeout is more than 0", lambda ctx: ctx.step("a", echo, 1, timeout=0)),
    (TypeError, "retry_if is a function", lambda ctx: ctx.step("a", echo, 1, retry_if=True)),  # type: ignore[arg-type]
    (TypeError, "retry_if answers at once", lambda ctx: ctx.step("a", echo, 1, retry_if=echo)),
    (TypeError, "backoff answers at once", lambda ctx: ctx.step("a", echo, 1, backoff=echo)),
    (ValueError, "no duration", lambda ctx: ctx.step("a", echo, 1, backoff="soon")),
    (ValueError, "with a time zone", lambda ctx: ctx.sleep_until(datetime(2026, 1, 1))),  # noqa: DTZ001
    (ValueError, "RFC 3339", lambda ctx: ctx.sleep_until("tomorrow")),
    (ValueError, "on_timeout: Input should be", lambda ctx: ctx.wait_for_event("a", on_timeout="x")),  # type: ignore[arg-type]
    (ValueError, "correlation: String should", lambda ctx: ctx.wait_for_event("a", correlation="")),
    (ValueError, "event 'a': match", lambda ctx: ctx.wait_for_event("a", match={"": 1})),
    (OutputError, "the match of event 'a' is not", lambda ctx: ctx.wait_for_event("a", match={"x": object()})),
    (OutputError, "the data of approval 'a'", lambda ctx: ctx.approval("a", data=object())),
    (ValueError, "approval 'a': message", lambda ctx: ctx.approval("a", message=3)),  # type: ignore[arg-type]
    (ValueError, "holds none of", lambda ctx: ctx.approval("a/b")),
    (TypeError, "the reason of skip 'a' is a text", lambda ctx: ctx.skip("a", None)),  # type: ignore[arg-type]
    (TypeError, "takes members by name", lambda ctx: ctx.parallel("a", [echo])),  # type: ignore[arg-type]
    (TypeError, "member 'b' of parallel 'a' is a function", lambda ctx: ctx.parallel("a", {"b": 3})),  # type: ignore[dict-item]
    (ValueError, "holds none of", lambda ctx: ctx.parallel("a", {"b[0]": int})),
    (OutputError, "the input of member 'b'", lambda ctx: ctx.parallel("a", {"b": (echo, object())})),
    (ValueError, "max_in_flight is a whole", lambda ctx: ctx.map("a", [1], echo, max_in_flight=0)),
    (TypeError, "fail_fast is True or False", lambda ctx: ctx.map("a", [1], echo, fail_fast="no")),  # type: ignore[arg-type]
    (TypeError, "takes a list of items", lambda ctx: ctx.map("a", "abc", echo)),
    (TypeError, "takes a function of one item", lambda ctx: ctx.map("a", [1], 3)),  # type: ignore[arg-type]
    (ValueError, "100,001 members", lambda ctx: ctx.map("a", range(100_001), echo)),
    (OutputError, "the items of map 'a'", lambda ctx: ctx.map("a", [object()], echo)),
    (TypeError, "has no option 'limit'", lambda ctx: ctx.map("a", [1], echo, limit=3)),  # type: ignore[call-arg]
    (TypeError, "a child is a workflow or the name", lambda ctx: ctx.child(3)),
    (ValueError, "child 'a': id", lambda ctx: ctx.child("a", id="no spaces")),
    (ValueError, "holds none of", lambda ctx: ctx.child("a/b")),
    (OutputError, "the input of child 'a'", lambda ctx: ctx.child("a", object())),
    (OutputError, "the input of the next run", lambda ctx: ctx.continue_as_new(object())),
    (TypeError, "takes an object with kind", lambda ctx: ctx.operation("a", echo)),  # type: ignore[arg-type]
    (ValueError, "the kind of an operation", lambda ctx: ctx.operation("a", NoOperation())),
    (TypeError, "a list of words", lambda ctx: ctx.shell("a", "git status")),
    (TypeError, "texts without NUL", lambda ctx: ctx.shell("a", ["git", 3])),  # type: ignore[list-item]
    (ValueError, "no http or https URL", lambda ctx: ctx.http("a", "GET", "ftp://host")),
]


@pytest.mark.parametrize(("kind", "sentence", "misuse"), REFUSED)
async def test_a_misused_helper_is_refused_at_the_call(
    kind: type[Exception], sentence: str, misuse: Callable[[Context], Any]
) -> None:
    @workflow("misused")
    async def misused(ctx: Context, _: Any) -> Any:
        with pytest.raises(kind, match=sentence):
            misuse(ctx)
        return await ctx.step("a", echo, "the key is still free")

    play = Play(misused)
    assert await play.run() == "the key is still free"
    assert play.keys() == ["a"]


async def test_a_runner_holds_several_versions_of_a_workflow() -> None:
    @workflow("orders", version="1")
    async def first(ctx: Context, _: Any) -> Any:
        return 1

    @workflow("orders", version="2")
    async def second(ctx: Context, _: Any) -> Any:
        return 2

    @workflow("plain")
    async def plain(ctx: Context, _: Any) -> Any:
        return "plain"

    runner = Runner([first, second, plain])

    async def output(name: str, version: str | None) -> Any:
        answer = await ask(runner, workflow_name=name, workflow_version=version)
        return answer.get("output", answer.get("reason"))

    assert [await output("orders", version) for version in ("1", "2", None)] == [1, 2, 2]
    assert await output("orders", "3") == "unknown version '3' of workflow 'orders'"
    assert [await output("plain", version) for version in (None, "7")] == ["plain", "plain"]
    with pytest.raises(ValueError, match="two workflows are named 'orders', version '1'"):
        Runner([first, first])
