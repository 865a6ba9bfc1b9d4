"""P19: whatever a runner does costs its own instance one timeout, and nobody else anything (PROMISES.md harness 4)."""

import asyncio
import json
import sys
import time
from pathlib import Path

import pytest

from pylon_workflows.errors import MalformedAnswerError, RunnerError, RunnerUnavailableError, TurnTimedOutError
from pylon_workflows.ports import Turn
from pylon_workflows.runner.http import HttpRunner
from runner_protocol.messages import parse_action
from tests.contracts.runner_contract import answer_of
from tests.faults.hostile_runner import ACTION, BEHAVIOURS, HEALTHY, HostileRunner, Outcome, hostile_process

SHORT_S, LONG_S = 1.0, 20.0
"""Deadlines: for those that let it pass, and for those that must not need it."""

ERRORS: dict[Outcome, type[RunnerError]] = {
    "unavailable": RunnerUnavailableError,
    "malformed": MalformedAnswerError,
    "timed out": TurnTimedOutError,
}


def a_turn(body: bytes = b'{"workflow_id":"wf_1"}', timeout_s: float = LONG_S) -> Turn:
    return Turn(instance_id="wf_1", workflow="order", body=body, idempotency_key="wf_1:1:0", timeout_s=timeout_s)


@pytest.mark.parametrize("name", BEHAVIOURS)
async def test_each_behaviour_is_taken_for_what_it_is_within_the_deadline_while_a_healthy_runner_goes_on(
    name: str,
) -> None:
    behaviour = BEHAVIOURS[name]
    timeout_s = SHORT_S if behaviour.outcome == "timed out" else LONG_S
    body = b"x" * (16 * 1024 * 1024 if name == "never reads" else 100)
    async with (
        HostileRunner(behaviour) as hostile,
        HostileRunner(HEALTHY) as healthy,
        HttpRunner(hostile.url) as runner,
        HttpRunner(healthy.url) as healthy_runner,
    ):
        began = time.monotonic()
        hostile_turns = [asyncio.ensure_future(answer_of(runner, a_turn(body, timeout_s))) for _ in range(5)]
        for _ in range(5):
            await asyncio.gather(*(answer_of(healthy_runner, a_turn()) for _ in range(10)))
        assert time.monotonic() - began < 5, "the healthy runner was held up"
        results = await asyncio.gather(*hostile_turns, return_exceptions=True)
        assert time.monotonic() - began < timeout_s + 2
        assert behaviour.is_deaf or hostile.requests <= 5, "a turn was sent twice"
    for result in results:
        if (
            isinstance(result, RunnerUnavailableError)
            and result.has_dropped_turn
            and behaviour.has_dropped_turn is None
        ):
            continue
        if behaviour.outcome == "answered":
            assert result == parse_action(ACTION)
        else:
            assert isinstance(result, ERRORS[behaviour.outcome]), result
            assert 10 < len(str(result)) < 500
        if isinstance(result, RunnerUnavailableError):
            assert result.retry_after_s == behaviour.retry_after_s
            assert result.has_dropped_turn is bool(behaviour.has_dropped_turn), result


_CLIENT = """
import asyncio, json, resource, sys
from pylon_workflows.errors import RunnerError
from pylon_workflows.ports import Turn
from pylon_workflows.runner.http import HttpRunner

def peak_kb():
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform == "darwin" else peak

async def apply(actions):
    return True

async def main(urls):
    turn = Turn(instance_id="wf_1", workflow="order", body=b"{}", idempotency_key="k", timeout_s=20.0)
    grown = {}
    async with HttpRunner(urls.pop("healthy")) as runner:
        await runner.take_turn(turn, apply)
    for name, url in urls.items():
        before = peak_kb()
        async with HttpRunner(url) as runner:
            for _ in range(3):
                try:
                    await runner.take_turn(turn, apply)
                    raise SystemExit(f"{name} was taken for an answer")
                except RunnerError:
                    pass
        grown[name] = peak_kb() - before
    print(json.dumps(grown))

asyncio.run(main(json.loads(sys.argv[1])))
"""


@pytest.mark.slow
async def test_answers_without_measure_cost_a_bounded_amount_of_memory() -> None:
    """The peak of a process that does nothing else, so that a hundred megabytes held for a moment are seen too."""
    big = (
        "100 MB",
        "100 MB without a length",
        "gzip bomb",
        "length of an exabyte",
        "header of 5 MB",
        "line without end",
        "a million wrong names",
        "a million wrong log lines",
    )
    async with hostile_process() as urls:
        chosen = {name: urls[name] for name in ("healthy", *big, "headers without end", "line without end")}
        client = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            _CLIENT,
            json.dumps(chosen),
            stdout=asyncio.subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        printed, _ = await client.communicate()
        assert client.returncode == 0
    grown_kb: dict[str, int] = json.loads(printed)
    assert set(grown_kb) == set(chosen) - {"healthy"}
    assert sum(grown_kb.values()) < 50 * 1024, grown_kb
