"""What a transition costs does not depend on how much has happened before it."""

import time
from datetime import timedelta

from histories import at, instance_started

from pylon_workflows.core.commands import ApplyAction, DeliverEvent, FinishChild, WakeUp
from pylon_workflows.core.decider import decide
from pylon_workflows.core.evolution import begin, evolve
from pylon_workflows.core.retry import RetryPolicy
from pylon_workflows.store.codec import encode
from runner_protocol.messages import Fail, StartChild, StepComplete, StepSkip, Usage, WaitEvent

ROUND = (
    StepComplete(step_name="step", vars={"v": [1, 2]}, usage=Usage(cost_usd="0.01"), noted=1),
    StepSkip(step_name="skip", after=0),
    Fail(step_name="shaky", key="shaky", max_retries=1_000_000, retry_after=timedelta(0)),
    WaitEvent(event="early", match={"n": 1}),
    StartChild(name="child", workflow="w", wait=False),
)


def run(rounds):
    """A run of so many rounds, each transition of it stored; the processor time of a round in seconds."""
    instance = begin(instance_started(policy=RetryPolicy()))
    began = time.process_time()
    for number in range(rounds):
        child = instance_started(id=f"child_{number}")
        commands = [DeliverEvent(event="early", data_json=b'{"n":1}', event_id=f"e{number}")]
        for action in ROUND:
            commands += [ApplyAction(action=action, turn_started_at=at(0), child=child), WakeUp()]
        if number % 2:
            key = f"child:child#{number + 1}"
            commands.append(FinishChild(run=1, key=key, child_id=child.id, status="completed"))
        for command in commands:
            for transition in decide(instance, command, at(number)):
                instance = evolve(instance, transition)
                encode(transition)
    spent = time.process_time() - began
    assert (instance.current_step, len(instance.children)) == (4 * rounds, (rounds + 1) // 2)
    return spent / rounds


def test_the_thousandth_round_of_a_loop_costs_what_the_first_did():
    assert min(run(700) for _ in range(2)) < 5 * min(run(50) for _ in range(5))
