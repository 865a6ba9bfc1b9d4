"""What any caller can make the log say, it says once a minute."""

import logging

from pylon_workflows.edge.seldom_told import SeldomTold


def record(message: str, level: int = logging.WARNING) -> logging.LogRecord:
    return logging.LogRecord("uvicorn.error", level, "", 0, message, (), None)


def test_a_warning_is_told_once_a_minute_with_how_many_there_were() -> None:
    now = 1000.0
    seldom = SeldomTold(lambda: now)
    assert [seldom.filter(record("no HTTP")) for _ in range(3)] == [True, False, False]
    assert seldom.filter(record("no upgrade"))
    now = 1060.0
    again = record("no HTTP")
    assert seldom.filter(again)
    assert again.getMessage() == "no HTTP (and 2 others since the last was told)"
    now = 1120.0
    last = record("no HTTP")
    assert seldom.filter(last)
    assert last.getMessage() == "no HTTP"


def test_what_is_worse_is_always_told() -> None:
    seldom = SeldomTold()
    assert all(seldom.filter(record("it failed", logging.ERROR)) for _ in range(3))
