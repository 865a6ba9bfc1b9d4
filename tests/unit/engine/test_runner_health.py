"""Whether the runner answers (PROTOCOL.md section 4): nothing of it is written, nothing is hammered."""

import pytest

from pylon_workflows.errors import RunnerUnavailableError
from pylon_workflows.runner_health import DROPPED_TURNS_UNTIL_BLOCKED, RunnerHealth

REFUSED = RunnerUnavailableError("connection refused")
DROPPED = RunnerUnavailableError("connection lost", has_dropped_turn=True)


@pytest.fixture
def health():
    return RunnerHealth()


def fail(health, instance_id, error=REFUSED, *, name="wf", now=0.0, jitter=1.0):
    health.asked(instance_id, name)
    return ended(health, instance_id, error, now=now, jitter=jitter)


def ended(health, instance_id, error=REFUSED, *, now=0.0, jitter=1.0):
    """The turn that was asked finds no answer."""
    return health.failed(instance_id, error, monotonic=now, jitter=jitter)


def answer(health, instance_id, name="wf"):
    health.asked(instance_id, name)
    health.answered(instance_id)


def test_one_instance_that_fails_alone_waits_alone_ever_longer_up_to_half_a_minute(health):
    delays = [fail(health, "a") for _ in range(12)]
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0, 30.0]
    assert not health.is_down("wf")


def test_it_fails_for_as_long_as_it_takes(health):
    assert [fail(health, "a") for _ in range(5000)][-1] == 30.0


def test_a_pause_in_whole_seconds_is_told_as_any_other(health):
    error = RunnerUnavailableError("connection lost", has_dropped_turn=True, retry_after_s=5)
    assert [type(fail(health, "a", error)) for _ in range(2)] == [float, float]  # by which turns know a pause


def test_jitter_takes_up_to_half_of_the_delay(health):
    assert fail(health, "a", jitter=0.0) == 0.05


def test_an_answer_ends_the_trouble(health):
    for _ in range(5):
        fail(health, "a")
    answer(health, "a")
    assert fail(health, "a") == 0.1


def test_a_dropped_connection_is_tried_again_at_once_but_only_once(health):
    assert fail(health, "a", DROPPED) == 0.0
    assert fail(health, "a", DROPPED) == 0.2


def test_when_three_instances_fail_and_none_is_answered_the_runner_is_down(health):
    fail(health, "a")
    fail(health, "b")
    assert not health.is_down("wf")
    fail(health, "c", now=100.0)
    assert health.is_down("wf")
    assert health.seconds_until_probe("wf", 100.0) == pytest.approx(0.1)


def test_failures_with_answers_between_them_do_not_make_it_down(health):
    for instance_id in "abcdef":
        fail(health, instance_id)
        answer(health, "x")
    assert not health.is_down("wf")


def test_probes_come_ever_later_up_to_five_seconds(health):
    for instance_id in "ab":
        fail(health, instance_id)
    waits = []
    for number in range(9):
        now = 1000.0 * number
        fail(health, f"probe {number}", now=now)
        waits.append(health.seconds_until_probe("wf", now))
    assert waits == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0])


def test_the_first_answer_ends_the_down_time(health):
    for instance_id in "abc":
        fail(health, instance_id)
    answer(health, "b")
    assert not health.is_down("wf")
    assert health.seconds_until_probe("wf", 0.0) <= 0


def test_retry_after_is_obeyed_by_the_instance_and_by_the_probes(health):
    asked_for = RunnerUnavailableError("503", retry_after_s=60.0)
    assert fail(health, "a", asked_for) == 60.0
    fail(health, "b", asked_for)
    fail(health, "c", asked_for, now=5.0)
    assert health.seconds_until_probe("wf", 5.0) == 60.0
    fail(health, "d", REFUSED, now=6.0)
    assert health.seconds_until_probe("wf", 6.0) == 59.0


def test_an_absurd_retry_after_of_three_instances_does_not_stop_the_others_for_as_long(health):
    asked_for = RunnerUnavailableError("429", retry_after_s=3600.0)
    assert [fail(health, instance_id, asked_for) for instance_id in "abc"] == [3600.0] * 3
    assert health.is_down("wf")
    assert health.seconds_until_probe("wf", 0.0) == 60.0


def test_retry_after_shorter_than_the_backoff_does_not_shorten_it(health):
    for _ in range(5):
        fail(health, "a")
    assert fail(health, "a", RunnerUnavailableError("503", retry_after_s=1.0)) == 3.2


def test_what_the_runner_asked_for_before_it_answered_is_over(health):
    for instance_id in "abc":
        fail(health, instance_id, RunnerUnavailableError("503", retry_after_s=3600.0))
    answer(health, "a")
    for instance_id in "abc":
        fail(health, instance_id, now=10.0)
    assert health.seconds_until_probe("wf", 10.0) == pytest.approx(0.1)


def test_a_runner_that_dies_on_one_step_while_it_answers_others_is_found_out(health):
    for number in range(1, DROPPED_TURNS_UNTIL_BLOCKED + 1):
        assert not health.has_killed_runner("a")
        fail(health, "a", DROPPED)
        fail(health, "a", REFUSED)  # while it is being started again
        answer(health, f"other {number}")
    assert health.has_killed_runner("a")
    assert not health.has_killed_runner("other 1")


def test_a_runner_that_is_down_for_all_does_not_die_on_any_step(health):
    answer(health, "x")
    for _ in range(100):
        for instance_id in "abcd":
            fail(health, instance_id, DROPPED)
    answer(health, "x")
    assert not any(health.has_killed_runner(instance_id) for instance_id in "abcd")
    fail(health, "a", DROPPED)
    assert not health.has_killed_runner("a")


def test_an_answer_for_the_step_itself_acquits_it(health):
    for _ in range(DROPPED_TURNS_UNTIL_BLOCKED - 1):
        fail(health, "a", DROPPED)
        answer(health, "b")
    answer(health, "a")
    fail(health, "a", DROPPED)
    assert not health.has_killed_runner("a")


def test_an_instance_that_is_asked_about_no_more_leaves_nothing_but_the_runner_stays_down(health):
    for instance_id in "abc":
        fail(health, instance_id)
    health.forget("a")
    assert health.is_down("wf")
    assert fail(health, "a") == 0.1


def test_a_turn_that_fails_while_another_is_answered_says_nothing_about_the_runner(health):
    for instance_id in "abcde":
        health.asked(instance_id, "wf")
    answer(health, "x")
    for instance_id in "abcde":
        ended(health, instance_id)
    assert not health.is_down("wf")
    for instance_id in "abc":
        fail(health, instance_id)
    assert health.is_down("wf")


def test_all_that_was_under_way_when_it_went_down_fails_as_one(health):
    """Else a runner that is restarted under load would be left alone for seconds after it is back."""
    for number in range(500):
        health.asked(f"wf_{number}", "wf")
    for number in range(500):
        ended(health, f"wf_{number}", DROPPED, now=10.0)
    assert health.seconds_until_probe("wf", 10.0) == pytest.approx(0.1)
    fail(health, "probe", now=20.0)
    assert health.seconds_until_probe("wf", 20.0) == pytest.approx(0.2)


def test_what_the_runner_does_to_one_workflow_says_nothing_about_another(health):
    for instance_id in "abc":
        fail(health, instance_id, RunnerUnavailableError("429", retry_after_s=3600.0), name="noisy")
    assert (health.is_down("noisy"), health.is_failing("noisy")) == (True, True)
    assert (health.is_down("quiet"), health.is_failing("quiet")) == (False, False)
    answer(health, "x", name="quiet")
    assert health.is_down("noisy")
    assert health.seconds_until_probe("noisy", 0.0) == 60.0
    assert health.recoveries == 0


def test_a_runner_that_was_down_for_all_is_probed_by_all_as_soon_as_it_answers_one(health):
    for name in ("one", "two"):
        for instance_id in "abc":
            fail(health, f"{name}-{instance_id}", name=name, now=50.0)
    assert health.seconds_until_probe("two", 50.0) == pytest.approx(0.1)
    answer(health, "one-a", name="one")
    assert (health.is_down("one"), health.is_down("two"), health.recoveries) == (False, True, 1)
    assert health.seconds_until_probe("two", 50.0) <= 0


class TestAVersionWithARunnerOfItsOwn:
    """`wf` has three runners: one for version 2, one for version 3, and one for whatever else there is."""

    @pytest.fixture
    def health(self):
        return RunnerHealth([("wf", "2"), ("wf", "3"), ("other", None)])

    @staticmethod
    def fail_three(health, version):
        for number in range(3):
            health.asked(f"{version}-{number}", "wf", version)
            ended(health, f"{version}-{number}")

    def test_the_workflow_is_down_when_all_of_its_runners_are(self, health):
        for version in ("1", "2", "3"):
            assert not health.is_down("wf")
            self.fail_three(health, version)
        assert health.is_down("wf")
        assert health.seconds_until_probe("wf", 0.0) > 0

    def test_an_answer_of_one_of_them_ends_that_and_not_the_others_trouble(self, health):
        for version in ("1", "2", "3"):
            self.fail_three(health, version)
        health.asked("2-0", "wf", "2")
        health.answered("2-0")
        assert not health.is_down("wf")
        assert health.is_failing("wf")
        self.fail_three(health, "2")
        assert health.is_down("wf")

    def test_versions_that_share_a_runner_share_its_trouble(self, health):
        for version in ("2", "3"):
            self.fail_three(health, version)
        for number, version in enumerate((None, "1", "7")):
            health.asked(f"wf_{number}", "wf", version)
            ended(health, f"wf_{number}")
        assert health.is_down("wf")

    def test_other_workflows_are_down_as_ever(self, health):
        for number in range(3):
            health.asked(f"wf_{number}", "other", "2")
            ended(health, f"wf_{number}")
        assert health.is_down("other")
