"""Time is passed, not asked for: what goes by it can be tested over a clock that the test moves."""

import re
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "pylon_workflows"
ASKS = re.compile(r"\b(datetime\.(now|today|utcnow)|date\.today|time\.(time|monotonic|perf_counter)(_ns)?)\b")

MAY_ASK = {
    "clock.py": "the system's clock itself",
    "cli/commands.py": "a command says what is now, to a person",
    "cli/exchange.py": "the same",
    "cli/filter_options.py": "the same",
    "cli/tokens.py": "the same",
    "cli/why.py": "the same",
    "demo.py": "a program for a person",
    "doctor/contents.py": "looks at the file as it is now",
    "edge/seldom_told.py": "the default of an argument",
    "ownership/lock_file.py": "tells people since when the file is owned",
    "store/backup.py": "a name for a file that gives way",
    "store/epoch.py": "tells people since when the file is owned",
    "store/write_connection.py": "how long a disk has been well, which is no one's rule but its own",
}


def test_the_clock_is_asked_where_a_process_begins_and_nowhere_else() -> None:
    asking = {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py") if ASKS.search(path.read_text())}
    assert asking == set(MAY_ASK)
