"""The commands that copy a database file: `backup` and `restore`. They need no server."""

from pathlib import Path

import click

from pylon_workflows.cli.output import print_line
from pylon_workflows.errors import WorkflowError
from pylon_workflows.ownership import file_systems
from pylon_workflows.ownership.guard import FileGuard
from pylon_workflows.store.backup import Copied, back_up
from pylon_workflows.store.backup import restore as put_back

_FILE = click.Path(path_type=Path)


class NotCopiedError(click.ClickException):
    """The file was not copied; the message says what to do."""

    exit_code = 1


@click.command("backup")
@click.argument("file", type=_FILE)
@click.argument("to", type=_FILE)
@click.option("--force", is_flag=True, help="Replace TO.")
def backup(*, file: Path, to: Path, force: bool) -> None:
    """Copy the database FILE to TO, while its engine goes on."""
    if file.is_file() and file_systems.is_mounted_alone(file.resolve()):
        raise NotCopiedError(
            f"{file} is mounted by itself, without its folder, where the log of its engine is: the copy would lack "
            "what is in that log. Mount its folder"
        )
    try:
        copied = back_up(file, to, is_replacing=force)
    except WorkflowError as error:
        raise NotCopiedError(str(error)) from None
    print_line(f"backed up {_amount(copied)}: {copied.path}")


@click.command("restore")
@click.argument("backup", type=_FILE)
@click.argument("file", type=_FILE)
def restore(*, backup: Path, file: Path) -> None:
    """Put BACKUP in the place of the database FILE, which no engine may have open; FILE is kept."""
    guard = FileGuard(file)
    try:
        guard.acquire()
        copied = put_back(backup, file)
    except WorkflowError as error:
        raise NotCopiedError(str(error)) from None
    finally:
        guard.release()
    print_line(f"restored {_amount(copied)}: {copied.path}")
    if copied.kept is not None:
        print_line(f"the former file is {copied.kept}")


def _amount(copied: Copied) -> str:
    noun = "instance" if copied.instances == 1 else "instances"
    return f"{copied.instances:,} {noun}, {copied.size_bytes:,} bytes"
