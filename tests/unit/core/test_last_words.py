"""What the runner last said is told in words, whatever it was; what others did is not taken for it."""

from datetime import timedelta

import pytest
from histories import BEGINNING, after, answer, at, given, received

from pylon_workflows.core.commands import Block, Cancel, Resume, WakeUp
from pylon_workflows.core.decider import decide
from pylon_workflows.explain.last_words import last_words
from pylon_workflows.explain.shapes import Driving, Said
from pylon_workflows.summaries import RunnerWait
from runner_protocol.messages import (
    Approval,
    Complete,
    ContinueAsNew,
    Fail,
    Map,
    Parallel,
    Sleep,
    StepComplete,
    StepSkip,
    WaitEvent,
)

ASKED = Driving(place="asked")
SAID = {
    "the step 'charge' is done": StepComplete(step_name="charge"),
    "the step 'mail' is left out: no address": StepSkip(step_name="mail", reason="no address"),
    "attempt 1 of 'charge' failed: declined": Fail(step_name="charge", error="declined"),
    "'charge' failed for good: no": Fail(step_name="charge", error="no", retryable=False, on_exhausted="throw"),
    "the workflow failed: no": Fail(step_name="charge", error="no", retryable=False),
    "sleep until 2026-01-01T00:01:01.000Z": Sleep(duration="1m"),
    "wait for the event 'paid'": WaitEvent(event="paid"),
    "ask for the decision 'ship'": Approval(name="ship"),
    "call the members of the map 'resize'": Map(name="resize", items=[1]),
    "call the members of the parallel 'checks'": Parallel(name="checks", members=[{"name": "a", "input": 1}]),
    "go on with the next run": ContinueAsNew(input=1),
    "the workflow is done": Complete(output=1),
}


@pytest.mark.parametrize("words", SAID)
def test_each_action_is_told_in_words(words):
    instance = given()
    recent = decide(instance, answer(SAID[words], terms=instance.terms), at(1))
    assert last_words(recent, ASKED) == Said(at=at(1), text=words)


@pytest.mark.parametrize("command", [Block(reason="history-too-large"), Cancel()])
def test_what_others_do_is_not_what_the_runner_said(command):
    said = decide(given(), answer(StepComplete(step_name="charge")), at(1))
    instance = after(given(), answer(StepComplete(step_name="charge")), second=1)
    recent = [*said, *decide(instance, command, at(2)), received("paid")]
    assert last_words(recent, ASKED) == Said(at=at(1), text="the step 'charge' is done")


def test_one_that_has_said_nothing_yet_is_told_as_that():
    instance = after(given(), Block(reason="no"))
    recent = [*decide(given(), Block(reason="no"), at(1)), *decide(instance, Resume(), at(2))]
    assert last_words(recent, ASKED) is None
    assert decide(given(), WakeUp(), at(1)) == []


def test_why_it_says_nothing_goes_before_what_it_said():
    recent = decide(given(), answer(StepComplete(step_name="charge")), at(1))
    wait = RunnerWait(reason="the runner is unavailable: " + "x" * 900, since=BEGINNING, next_try_at=at(5))
    found = last_words(recent, Driving(place="postponed", wait=wait))
    assert (found.at, len(found.text)) == (BEGINNING, 500)
    assert timedelta(0) < wait.next_try_at - wait.since
