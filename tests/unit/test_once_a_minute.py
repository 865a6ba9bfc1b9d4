"""What any caller can make the log say, it says once a minute."""

from pylon_workflows.once_a_minute import OnceAMinute


def test_one_a_minute_has_its_turn_and_says_how_many_others_there_were() -> None:
    now = 5.0  # a machine that has just started
    seldom = OnceAMinute(lambda: now)
    assert [seldom.turn() for _ in range(3)] == ["", None, None]
    now = 64.9
    assert seldom.turn() is None
    now = 65.0
    assert seldom.turn() == " (and 3 others since the last was told)"
    now = 125.0
    assert seldom.turn() == ""
