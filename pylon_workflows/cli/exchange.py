"""`export` and `import`: an instance as a JSON document, out of an engine or its file, and into another file."""

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from pylon_workflows.cli.client import DEFAULT_URL, Client
from pylon_workflows.cli.client_command import path_of
from pylon_workflows.cli.codec_option import codec_option
from pylon_workflows.cli.output import print_line
from pylon_workflows.errors import WorkflowError
from pylon_workflows.exports import exported, read_export
from pylon_workflows.ownership.guard import FileGuard
from pylon_workflows.ports import PayloadCodec
from pylon_workflows.store.file_views import history_in, viewed
from pylon_workflows.store.sqlite import SqliteStore

_FILE = click.Path(path_type=Path)


class NotExchangedError(click.ClickException):
    """Nothing was exported or imported; the message says why."""

    exit_code = 1


@click.command("export")
@click.argument("id")
@click.argument("file", type=_FILE, required=False)
@click.option("--to", type=_FILE, help="Write it there, instead of standard output.")
@click.option(
    "--url", envvar="PYLON_WORKFLOW_URL", show_envvar=True, default=DEFAULT_URL, show_default=True,
    help="The API's URL.",
)  # fmt: skip
@click.option("--token", envvar="PYLON_WORKFLOW_TOKEN", show_envvar=True, help="The API's token.")
@codec_option
def export_instance(
    *, id: str, file: Path | None, to: Path | None, url: str, token: str | None, codec: PayloadCodec | None
) -> None:
    """Write the instance ID as a JSON document: from the database FILE, or from the engine at the URL."""
    if file is None:
        document = Client(url, token).download(path_of(id, "export"))
    else:
        try:
            document = exported(viewed(file, lambda connection: history_in(connection, id), codec), datetime.now(UTC))
        except WorkflowError as error:
            raise NotExchangedError(str(error)) from None
    if to is None:
        sys.stdout.buffer.write(document)
        return
    try:
        to.write_bytes(document)
    except OSError as error:
        raise NotExchangedError(f"{to} cannot be written: {error.strerror}") from None
    print_line(f"exported {id}, {len(document):,} bytes: {to}")


@click.command("import")
@click.argument("document", type=_FILE)
@click.argument("file", type=_FILE)
@codec_option
def import_instance(*, document: Path, file: Path, codec: PayloadCodec | None) -> None:
    """Put the instance of an exported DOCUMENT (- for standard input) into FILE, which no engine may have open."""
    guard = FileGuard(file)
    try:
        content = sys.stdin.buffer.read() if str(document) == "-" else document.read_bytes()
        guard.acquire()
        sentence = asyncio.run(_imported(content, file, codec))
    except OSError as error:
        raise NotExchangedError(f"{document} cannot be read: {error.strerror}") from None
    except WorkflowError as error:
        raise NotExchangedError(str(error)) from None
    finally:
        guard.release()
    print_line(sentence)


async def _imported(content: bytes, file: Path, codec: PayloadCodec | None) -> str:
    instance, history = read_export(content)
    store = SqliteStore(file, codec=codec)
    await store.open()
    try:
        taken_by = await store.create(instance, later=history[1:])
        if taken_by is None:
            goes_on = "" if instance.is_finished else "; an engine on this file will go on with it"
            return f"imported {instance.id}, {instance.status}{goes_on}"
        existing = (await store.histories([taken_by])).get(taken_by)
        if taken_by == instance.id and existing == history:
            return f"{instance.id} is there already, the same"
        what = "another instance of this id" if taken_by == instance.id else f"{taken_by}, with its idempotency key"
        raise NotExchangedError(f"{file} has {what}; nothing was changed")
    finally:
        await store.close()
