"""`ctx.shell`: real commands."""

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import uvloop
from playing import Play, ask

from runner_protocol import CommandError, Context, workflow
from runner_protocol.kit import shell as shell_module
from runner_protocol.kit.shell import ShellCommand

PYTHON = sys.executable


def script(text: str, *words: str) -> list[str]:
    return [PYTHON, "-c", text, *words]


async def run(command: list[str], **options: Any) -> Any:
    return await ShellCommand(command, **options).execute()


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110 - other processes raise no event
            await asyncio.sleep(0.001)


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].startswith("Z")
    except (ProcessLookupError, FileNotFoundError):
        return True


async def test_a_command_is_a_step_that_is_recorded_with_its_words() -> None:
    @workflow("shell")
    async def shell(ctx: Context, _: Any) -> Any:
        return await ctx.shell("hello", ["printf", "%s", "$HOME; ls"], timeout="10s", retries=1)

    play = Play(shell)
    assert await play.run() == {"stdout": "$HOME; ls", "stderr": "", "exit_code": 0}
    done = play.answers[1]
    assert (done["kind"], done["input"]) == ("shell", {"command": ["printf", "%s", "$HOME; ls"]})


async def test_a_command_that_fails_says_why() -> None:
    @workflow("shell")
    async def shell(ctx: Context, _: Any) -> Any:
        text = "import sys; print('out'); print('x' * 5000 + 'the end', file=sys.stderr); sys.exit(3)"
        await ctx.shell("fail", script(text))

    failed = await ask(shell)
    error = failed["error"]
    assert (failed["kind"], failed["input"]["command"][0]) == ("shell", PYTHON)
    assert error["type"] == "CommandError"
    assert error["code"] == 3
    assert error["message"].startswith(f"{PYTHON!r} exited with 3: xxx")
    assert error["message"].endswith("the end")
    assert error["data"]["stdout"] == "out\n"
    assert len(error["data"]["stderr"]) == 1000


async def test_other_exit_codes_may_be_fine() -> None:
    assert (await run(script("raise SystemExit(2)"), ok=(0, 2)))["exit_code"] == 2


async def test_a_command_that_is_killed_says_by_what() -> None:
    with pytest.raises(CommandError, match="was ended by SIGTERM") as caught:
        await run(script("import os, signal; os.kill(os.getpid(), signal.SIGTERM)"))
    assert caught.value.code == -15


async def test_a_command_has_a_folder_an_environment_and_an_input(tmp_path: Path) -> None:
    text = "import os, sys; print(os.getcwd(), os.environ['SECRET'], 'PATH' in os.environ, sys.stdin.read())"
    command = ShellCommand(script(text), cwd=tmp_path, env={"SECRET": "s3"}, input="given")
    assert (await command.execute())["stdout"] == f"{tmp_path} s3 True given\n"
    assert command.input == {"command": script(text), "cwd": str(tmp_path), "input": "given"}


async def test_a_command_that_does_not_read_its_input_is_no_fault() -> None:
    assert (await run(script("pass"), input="x" * 1_000_000))["exit_code"] == 0


async def test_without_an_input_there_is_none_to_wait_for() -> None:
    assert (await run(script("import sys; print(len(sys.stdin.read()))")))["stdout"] == "0\n"


async def test_a_command_that_is_not_there_is_a_failure() -> None:
    with pytest.raises(CommandError, match="'no-such-command' cannot be run: No such file"):
        await run(["no-such-command"])


async def test_a_command_that_writes_too_much_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell_module, "MAX_OUTPUT_BYTES", 1000)
    with pytest.raises(CommandError, match="wrote more than 1,000 bytes"):
        await run(script("while True: print('x' * 100)"))


async def test_what_is_no_text_is_replaced() -> None:
    result = await run(script(r"import sys; sys.stdout.buffer.write(b'caf\xe9')"))
    assert result["stdout"] == "caf\ufffd"


LEAVES_A_CHILD = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(float(sys.argv[1]))
"""


async def test_what_a_command_leaves_running_ends_with_it() -> None:
    result = await asyncio.wait_for(run(script(LEAVES_A_CHILD, "0")), 30)
    await until(lambda: is_gone(int(result["stdout"])))


@pytest.mark.parametrize("is_deaf", [False, True])
async def test_a_command_that_is_given_up_is_killed_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_deaf: bool
) -> None:
    monkeypatch.setattr(shell_module, "_GRACE_S", 0.05)
    pids = tmp_path / "pids"
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" if is_deaf else ""
    text = deaf + (
        "import os, subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', {deaf + 'import time; time.sleep(600)'!r}])\n"
        f"path = {str(pids)!r}\n"
        "open(path + '.new', 'w').write(f'{os.getpid()} {child.pid}')\n"
        "os.rename(path + '.new', path)\n"
        "time.sleep(600)\n"
    )

    @workflow("left")
    async def left(ctx: Context, _: Any) -> Any:
        await ctx.shell("forever", script(text))

    async def read() -> None:
        async with aclosing(Play(left)._lines(Play(left).request())) as lines:
            await anext(lines)

    reader = asyncio.create_task(read())
    await until(pids.exists)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    command, child = map(int, pids.read_text().split())
    await until(lambda: is_gone(command) and is_gone(child))


def test_commands_run_on_uvloop_too() -> None:
    async def all_of_it() -> None:
        assert (await run(["sh", "-c", "cat; echo said >&2"], input="given"))["stdout"] == "given"
        left = await asyncio.wait_for(run(script(LEAVES_A_CHILD, "0")), 30)
        await until(lambda: is_gone(int(left["stdout"])))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(run(["sleep", "600"]), 0.05)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(all_of_it())


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("passes", [1, 2, 3])
def test_a_command_that_is_given_up_as_it_starts_leaves_no_process(
    new_loop: Callable[[], asyncio.AbstractEventLoop], passes: int, tmp_path: Path
) -> None:
    pid = tmp_path / "pid"

    async def story() -> None:
        running = asyncio.create_task(run(["sh", "-c", f"echo $$ > {pid}; exec sleep 600"]))
        for _ in range(passes):
            await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(story())
    written = pid.read_text() if pid.exists() else ""  # it may have been killed before it wrote
    assert not written or is_gone(int(written))
