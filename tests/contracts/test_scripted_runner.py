"""The runner of `pylon_workflows.testing` keeps the contract of a real one."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime

import pytest

from pylon_workflows.errors import RunnerError, RunnerUnavailableError
from pylon_workflows.ports import Apply, Runner, Turn
from pylon_workflows.testing import ScriptedRunner, script
from runner_protocol.messages import Action, Attempt, Complete, HistorySize, Sleep, TurnRequest
from runner_protocol.strict_json import encode
from tests.contracts.runner_contract import (
    Answer,
    NoAnswerError,
    RunnerContract,
    a_turn,
    answer_of,
    input_of,
)
from tests.contracts.stream_contract import Actions, StreamContract

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class WholeRequests:
    """Asks with whole requests, which a scripted runner reads; the contract's turns carry an input only."""

    def __init__(self, runner: ScriptedRunner) -> None:
        self._runner = runner

    async def take_turn(self, turn: Turn, apply: Apply) -> None:
        await self._runner.take_turn(turn._replace(body=whole_request(input_of(turn.body))), apply)


def whole_request(input: object = None) -> bytes:
    request = TurnRequest(
        workflow_id="wf_1",
        workflow_name="order",
        input=input,
        current_step=0,
        completed_steps=[],
        protocol=2,
        run=1,
        started_at=NOON,
        attempt=Attempt(number=1, max=4),
        idempotency_key="wf_1:1:0",
        deadline=NOON,
        now=NOON,
        seed="0" * 32,
        history=HistorySize(steps=0, bytes=0),
    )
    return encode(request.model_dump())


class TestScriptedRunner(RunnerContract):
    @asynccontextmanager
    async def serve(self, answer: Answer) -> AsyncIterator[Runner]:
        async def scripted(request: TurnRequest) -> Action:
            try:
                return await answer(a_turn(request.input).body)
            except NoAnswerError as error:
                raise RunnerUnavailableError(str(error)) from error

        yield WholeRequests(ScriptedRunner(scripted))


class TestStreamsOfAScriptedRunner(StreamContract):
    @asynccontextmanager
    async def serve_stream(self, actions: Actions) -> AsyncIterator[Runner]:
        async def scripted() -> AsyncIterator[Action | RunnerError]:
            try:
                async with aclosing(actions()) as given:
                    async for action in given:
                        yield action
            except NoAnswerError as error:
                yield RunnerUnavailableError(str(error))

        yield WholeRequests(ScriptedRunner(lambda _: scripted()))


async def test_it_keeps_the_requests_for_the_test_to_look_at():
    runner = ScriptedRunner(script(Complete()))
    await answer_of(runner, a_turn()._replace(body=whole_request({"user": "alice"})))
    assert [(request.workflow_name, request.input) for request in runner.requests] == [("order", {"user": "alice"})]


async def test_a_script_gives_its_answers_in_order_and_says_when_it_has_no_more():
    runner = ScriptedRunner(script(Sleep(duration="1s"), RunnerUnavailableError("down"), Complete()))
    turn = a_turn()._replace(body=whole_request())
    assert await answer_of(runner, turn) == Sleep(duration="1s")
    with pytest.raises(RunnerUnavailableError, match="down"):
        await answer_of(runner, turn)
    assert await answer_of(runner, turn) == Complete()
    with pytest.raises(AssertionError, match="the script has no answer for the turn at position 0"):
        await answer_of(runner, turn)


async def test_a_timeout_of_the_answers_own_is_not_the_turns():
    async def answer(_: TurnRequest) -> Action:
        raise TimeoutError("the test's own")

    with pytest.raises(TimeoutError, match="the test's own"):
        await answer_of(ScriptedRunner(answer), a_turn()._replace(body=whole_request()))
