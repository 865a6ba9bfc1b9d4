"""Each document followed to the letter: its files saved, its commands run, what they print compared.

README.md is followed as a new user would, in an empty folder and an empty virtual environment. Ports are replaced by
free ones, and the path of the checkout by where it is; nothing else is changed.
"""

import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from document_blocks import ROOT, Block, blocks_of

from tests.conformance.run_all import is_node_there

KIT = ROOT / "runner_protocol" / "typescript"
WITHIN_S = 300.0
UNTIL_S = 60.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


class Story:
    """A reader in a folder, with the programs of one environment, going through a document's blocks."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self._folder = folder
        self._ports = dict(zip(("9876", "8765", "8000"), free_ports(3), strict=True))
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYLON", "COV"))},
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "VIRTUAL_ENV": str(programs.parent),
            "PYLON_WORKFLOW_RUNNER_URL": f"http://127.0.0.1:{self._ports['9876']}/run",
            "PYLON_WORKFLOW_URL": f"http://127.0.0.1:{self._ports['8765']}/api/workflows",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }
        self._background: dict[str, subprocess.Popen[bytes]] = {}
        self.printed = ""
        self.compared = 0

    def follow(self, document: str) -> None:
        is_left_out = False
        for block in blocks_of(document):
            if block.language != "text":
                needs = block.words.get("needs")
                is_left_out = needs is not None and not is_there(needs)
            if not is_left_out:
                self.take(block)

    def take(self, block: Block) -> None:
        match block.language, block.words:
            case (("python" | "ts" | "toml"), {"file": name}):
                (self._folder / name).write_text(self._here(block.text))
            case "python", {"run": _}:
                self._run(block, [sys.executable, "-c", block.text])
            case "sh", {"background": name}:
                self._start(name, block)
            case "sh", {"run": _}:
                self._run(block, ["bash", "-euc", self._here(block.text)])
                ends_at = time.monotonic() + UNTIL_S
                while (word := block.words.get("until", "")) not in self.printed:
                    assert time.monotonic() < ends_at, f"{block}: no {word!r} in {self.printed}"
                    time.sleep(0.1)
                    self._run(block, ["bash", "-euc", self._here(block.text)])
            case "text", {"output": _}:
                self.compared += 1
                assert is_alike(block.text, self.printed), f"{block}:\n{block.text}\nis not what came:\n{self.printed}"

    def _here(self, text: str) -> str:
        for shown, real in self._ports.items():
            text = re.sub(rf"\b{shown}\b", str(real), text)
        text = text.replace("pylon-workflows serve", f"pylon-workflows serve --port {self._ports['8765']}")
        text = text.replace("uvicorn app:app", f"uvicorn app:app --port {self._ports['8000']}")
        return text.replace("../pylon-workflows", str(ROOT))

    def _folder_of(self, block: Block) -> Path:
        return ROOT if "checkout" in block.words else self._folder

    def _run(self, block: Block, command: list[str]) -> None:
        done = subprocess.run(
            command, cwd=self._folder_of(block), env=self._environment, capture_output=True, check=False, text=True,
            timeout=WITHIN_S,
        )  # fmt: skip
        assert done.returncode == 0, f"{block}: {done.stdout}{done.stderr}"
        self.printed = done.stdout

    def _start(self, name: str, block: Block) -> None:
        self._stop(name)
        log = self._folder / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {self._here(block.text).strip()}"],
                cwd=self._folder_of(block), env=self._environment, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self._background[name] = process
        ends_at = time.monotonic() + 60
        while not re.search(r"listening on|Uvicorn running on", log.read_text()):
            assert process.poll() is None, f"{block}: {log.read_text()}"
            assert time.monotonic() < ends_at, f"{block}: {log.read_text()}"
            time.sleep(0.02)

    @contextmanager
    def running(self, command: str) -> Iterator[subprocess.Popen[bytes]]:
        """A program of the reader's, killed at the end if it is still there."""
        process = subprocess.Popen(["bash", "-c", f"exec {command}"], cwd=self._folder, env=self._environment)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def _stop(self, name: str) -> None:
        process = self._background.pop(name, None)
        if process is not None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(30)
            finally:
                process.kill()
                process.wait()

    def close(self) -> None:
        for name in list(self._background):
            self._stop(name)


def free_ports(count: int) -> list[int]:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


def is_there(program: str) -> bool:
    """Whether the machine has it; of Node a version that the kit takes, and the kit built. CI must have everything."""
    is_ready = shutil.which(program) is not None
    if program == "node":
        is_ready = is_node_there() and (KIT / "dist" / "index.js").exists()
    if not is_ready and os.environ.get("CI"):
        pytest.fail(f"{program} is not ready (`make typescript` builds the kit), and CI must leave nothing out")
    return is_ready


def is_alike(shown: str, printed: str) -> bool:
    """Whether the parts of the shown text between its `...` stand in what was printed, in order, and nothing before."""
    parts = [re.escape(part.strip()) for part in shown.strip().split("...")]
    return re.fullmatch(".*?".join(parts), printed.strip(), re.DOTALL) is not None


@pytest.mark.parametrize(
    ("shown", "printed", "is_right"),
    [
        ("a b\n", "a b\n", True),
        ("a b", "a c", False),
        ("a ... c", "a b b c", True),
        ("a ... c", "a c d", False),
        ("a ...", "a c d", True),
        ("... c", "a c", True),
        ("a ... b ... c", "a c b", False),
    ],
)
def test_shown_output_is_compared(shown: str, printed: str, is_right: bool) -> None:
    assert is_alike(shown, printed) is is_right


def test_what_the_machine_lacks_is_left_out_but_never_in_ci(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CI", raising=False)
    assert not is_there("node")
    monkeypatch.setenv("CI", "1")
    with pytest.raises(pytest.fail.Exception, match="node is not ready"):
        is_there("node")


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    story = Story(tmp_path, Path(sys.executable).parent)
    yield story
    story.close()


@pytest.fixture
def new_user(tmp_path: Path) -> Iterator[Story]:
    """A reader with an empty virtual environment."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    (tmp_path / "work").mkdir()
    story = Story(tmp_path / "work", tmp_path / "venv" / "bin")
    yield story
    story.close()


def test_a_new_user_follows_the_readme(new_user: Story) -> None:
    new_user.follow("README.md")
    assert new_user.compared >= 5


def test_an_order_of_the_readme_that_is_killed_in_its_sleep_and_started_again_is_charged_once(
    story: Story, tmp_path: Path
) -> None:
    """As the page says it, with a line in `charge` that says when it runs."""
    page = {block.words.get("file"): block for block in blocks_of("README.md")}
    charge = "def charge(card):\n"
    assert charge in page["runner.py"].text
    noting = page["runner.py"].text.replace(charge, f'{charge}    print("CHARGED", card, flush=True)\n')
    story.take(replace(page["runner.py"], text=noting))
    story.take(page["main.py"])
    story.take(Block("here", 0, "sh", {"background": "runner"}, "python runner.py"))
    with story.running("python main.py 21") as first:
        until_it_sleeps(tmp_path / "orders.db", first)
        first.kill()
    story.take(Block("here", 0, "sh", {"run": ""}, "python main.py 21"))
    assert story.printed == "{'receipt': 'paid with 4711', 'parcel': {'number': 'P1'}}\n"
    assert (tmp_path / "runner.log").read_text().count("CHARGED 4711") == 1


def until_it_sleeps(path: Path, process: subprocess.Popen[bytes]) -> None:
    ends_at = time.monotonic() + UNTIL_S
    while not (path.exists() and statuses(path) == ["sleeping"]):
        assert process.poll() is None
        assert time.monotonic() < ends_at
        time.sleep(0.02)


def statuses(path: Path) -> list[str]:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return [status for (status,) in connection.execute("SELECT status FROM instances")]
    except sqlite3.OperationalError:  # it is being made
        return []
    finally:
        connection.close()


@pytest.mark.parametrize(
    "document",
    [
        "docs/concepts.md",
        "docs/events.md",
        "docs/live.md",
        "docs/protocol.md",
        "docs/security.md",
        "docs/testing.md",
        "docs/webhooks.md",
        "docs/workflows.md",
    ],
)
def test_the_examples_of_the_page_do_what_it_says(story: Story, document: str) -> None:
    story.follow(document)


def test_operations_are_carried_out_on_a_running_engine(story: Story, tmp_path: Path) -> None:
    """The page's backups are taken from a file that an engine has open, and are whole."""
    serve = "pylon-workflows serve --db orders.db --workflow order\n"
    story.take(Block("here", 0, "sh", {"background": "server"}, serve))
    for number in range(3):
        start = f"pylon-workflows start order --id order-{number}\n"
        story.take(Block("here", 0, "sh", {"run": ""}, start))
    copy = tmp_path / "orders-backup.db"
    backups = 0
    for block in blocks_of("docs/operations.md"):
        if "needs" in block.words and not is_there(block.words["needs"]):
            continue
        copy.unlink(missing_ok=True)
        story.take(block)
        if copy.exists():
            backups += 1
            assert contents(copy) == ("ok", 3)
    assert backups == 1


def contents(path: Path) -> tuple[str, int]:
    connection = sqlite3.connect(path)
    try:
        [(state,)] = connection.execute("PRAGMA integrity_check").fetchall()
        [(count,)] = connection.execute("SELECT count(*) FROM instances").fetchall()
    finally:
        connection.close()
    return state, count
