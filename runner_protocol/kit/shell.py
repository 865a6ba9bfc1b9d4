"""`ctx.shell`: a command as a step. Never through a shell: a list of words is given to the system as it is."""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypedDict, cast

MAX_OUTPUT_BYTES = 1024 * 1024
_SHOWN = 1_000
_KILL = signal.SIGKILL if os.name == "posix" else signal.SIGTERM
_GRACE_S = 2.0
"""So long a command that is cancelled may take to end by itself, after SIGTERM."""


class ShellResult(TypedDict):
    """What a command wrote and how it ended; bytes that are no UTF-8 are replaced by U+FFFD."""

    stdout: str
    stderr: str
    exit_code: int


class CommandError(Exception):
    """A command has failed; `code` is its exit code, negative for a signal, `data` the ends of what it wrote."""

    def __init__(self, message: str, code: int | None = None, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.data = data


class ShellCommand:
    """A command as an operation: the words and the folder are recorded, the environment is not, as it holds secrets."""

    kind = "shell"

    def __init__(
        self,
        command: Sequence[str],
        *,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        input: str | None = None,
        ok: Collection[int] = (0,),
    ) -> None:
        if isinstance(command, str) or not isinstance(command, Sequence) or not command:
            raise TypeError('a command is a list of words, such as ["git", "status"]: it runs without a shell')
        for word in command:
            if not isinstance(word, str) or "\0" in word:
                raise TypeError(f"a command is a list of texts without NUL, not {word!r}")
        if input is not None and not isinstance(input, str):
            raise TypeError(f"the input of a command is a text, not {type(input).__name__}")
        self._words = list(command)
        self._cwd = None if cwd is None else str(Path(cwd))
        self._env = None if env is None else {**os.environ, **env}
        self._stdin = None if input is None else input.encode()
        self._ok = ok
        self.input: dict[str, Any] = {"command": self._words}
        if self._cwd is not None:
            self.input["cwd"] = self._cwd
        if input is not None:
            self.input["input"] = input

    async def execute(self) -> ShellResult:
        """Run it to its end; cancelled, it is killed with all the processes of its group. Raises CommandError."""
        starting = asyncio.ensure_future(self._start())
        try:
            transport, command = await asyncio.shield(starting)
        except OSError as error:
            raise CommandError(f"{self._words[0]!r} cannot be run: {error.strerror or error}") from None
        except asyncio.CancelledError:  # it may be running by now
            with contextlib.suppress(OSError):
                await (await starting)[1].end()
            raise
        try:
            if self._stdin is not None:
                stdin = cast(asyncio.WriteTransport, transport.get_pipe_transport(0))
                stdin.write(self._stdin)
                stdin.close()
            await command.exited
        except _TooMuchError:
            raise CommandError(
                f"{self._words[0]!r} wrote more than {MAX_OUTPUT_BYTES:,} bytes; let it write a file"
            ) from None
        finally:
            await command.end()
        result = ShellResult(
            stdout=command.written[1].decode(errors="replace"),
            stderr=command.written[2].decode(errors="replace"),
            exit_code=transport.get_returncode() or 0,
        )
        if result["exit_code"] not in self._ok:
            raise self._failure(result)
        return result

    async def _start(self) -> tuple[asyncio.SubprocessTransport, "_Running"]:
        return await asyncio.get_running_loop().subprocess_exec(
            _Running,
            *self._words,
            stdin=subprocess.DEVNULL if self._stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self._cwd,
            env=self._env,
            start_new_session=os.name == "posix",
        )

    def _failure(self, result: ShellResult) -> CommandError:
        code, said = result["exit_code"], result["stderr"].strip() or result["stdout"].strip()
        how = f"exited with {code}" if code >= 0 else f"was ended by {_signal_name(-code)}"
        ends = {**result, "stdout": result["stdout"][-_SHOWN:], "stderr": result["stderr"][-_SHOWN:]}
        return CommandError(f"{self._words[0]!r} {how}{': ' if said else ''}{said[-_SHOWN:]}", code, ends)


class _TooMuchError(Exception):
    pass


class _Running(asyncio.SubprocessProtocol):
    """A command that runs: what it has written, when it has `exited`, and when nothing of it is left.

    Those are two moments: what it has started itself may hold its pipes open for longer than it lives.
    """

    _transport: asyncio.SubprocessTransport

    def __init__(self) -> None:
        self.written = {1: bytearray(), 2: bytearray()}
        loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[None] = loop.create_future()
        self._is_gone: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The command has begun."""
        self._transport = cast(asyncio.SubprocessTransport, transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """It has written."""
        written = self.written[fd]
        if len(written) + len(data) <= MAX_OUTPUT_BYTES:
            written += data
        elif not self.exited.done():
            self.exited.set_exception(_TooMuchError())

    def process_exited(self) -> None:
        """It has ended."""
        if not self.exited.done():
            self.exited.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended, and so have its pipes."""
        if not self._is_gone.done():
            self._is_gone.set_result(None)

    async def end(self) -> None:
        """Leave nothing behind: what still runs is asked to end, then killed; its pipes are read to their ends."""
        try:
            if self._transport.get_returncode() is None:
                self._send(signal.SIGTERM)
                await asyncio.wait({self._is_gone}, timeout=_GRACE_S)
            self._send(_KILL)
            await asyncio.wait({self._is_gone}, timeout=_GRACE_S)  # what has left the group may hold a pipe for ever
        finally:
            self._send(_KILL)
            self.exited.cancel()
            self._transport.close()

    def _send(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            if os.name == "posix":
                os.killpg(self._transport.get_pid(), number)  # a group of its own: see start_new_session
            elif self._transport.get_returncode() is None:
                self._transport.terminate()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
