"""`token`: who may call the API.

On the file, so that there can be one before a server runs; and through the file's owner, where there is one.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from pylon_workflows.cli.codec_option import codec_option
from pylon_workflows.cli.output import print_json, print_line, print_table
from pylon_workflows.errors import DatabaseInUseError, StoreError, TooManyTokensError, UnknownTokenError, WorkflowError
from pylon_workflows.ownership import token_requests
from pylon_workflows.ownership.guard import FileGuard
from pylon_workflows.ownership.owner_client import AnswerLostError, NotDoneError, OwnerClient
from pylon_workflows.ownership.owner_requests import OwnerRequest
from pylon_workflows.ownership.socket_file import socket_path
from pylon_workflows.ports import PayloadCodec, TokenStore
from pylon_workflows.store.file_views import viewed
from pylon_workflows.store.sqlite import SqliteStore
from pylon_workflows.store.token_rows import has_tokens, tokens_in
from pylon_workflows.tokens import MAX_TOKENS, SCOPES, Token, check_token_id, new_token, unknown_token
from runner_protocol.durations import DurationError, parse_duration
from runner_protocol.fields import format_timestamp

_PATIENCE_S = 10.0
_PAUSE_S = 0.05


class NotDoneWithTokenError(click.ClickException):
    """Nothing was changed; the message says why."""

    exit_code = 1


def _duration(_context: click.Context, _parameter: click.Parameter, value: str | None) -> timedelta | None:
    try:
        return None if value is None else parse_duration(value)
    except DurationError as error:
        raise click.BadParameter(str(error)) from None


_file = click.option(
    "--db", "file", metavar="FILE", type=click.Path(path_type=Path), default="workflows.db", show_default=True,
    help="The database of the engine.",
)  # fmt: skip
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")


@click.group("token")
def token() -> None:
    """Let callers into the HTTP API: make, list and revoke tokens. Works on the file, also while its engine runs."""


@token.command("create")
@click.option(
    "--scope", "scopes", type=click.Choice(SCOPES), multiple=True, required=True,
    help="What it may do; may be given several times. admin may do everything.",
)  # fmt: skip
@click.option("--expires", "expires_in", metavar="DURATION", callback=_duration, help="Such as 90d; never, if absent.")
@click.option("--note", default="", help="Whose it is, for `token list`.")
@_file
@codec_option
@_json
def create(
    *,
    scopes: tuple[str, ...],
    expires_in: timedelta | None,
    note: str,
    file: Path,
    codec: PayloadCodec | None,
    as_json: bool,
) -> None:
    """Make a token and print it: it is shown now and never again."""
    is_new_file, is_first = not file.exists(), not has_tokens(file)
    try:
        made, text = new_token(scopes, now=datetime.now(UTC), expires_in=expires_in, note=note)
        asyncio.run(_changed(file, codec, token_requests.save(made), lambda tokens: _save(tokens, made)))
    except WorkflowError as error:
        raise NotDoneWithTokenError(str(error)) from None
    if as_json:
        print_json({"token": text, **_as_json(made)})
        return
    click.echo(text)
    click.echo(f"{_sentence(made)}, for the engine of {file}. Keep it: it is not shown again.", err=True)
    if is_new_file:
        click.echo(f"{file} was not there, and has been made: --db names the file of the engine.", err=True)
    elif is_first:
        click.echo("From now on the API of that engine answers nobody without a token.", err=True)


@token.command("list")
@_file
@_json
def list_tokens(*, file: Path, as_json: bool) -> None:
    """List the tokens, the oldest first, without their secrets."""
    try:
        tokens, unreadable = viewed(file, tokens_in)
    except WorkflowError as error:
        raise NotDoneWithTokenError(str(error)) from None
    if as_json:
        print_json([_as_json(each) for each in tokens])
        return
    now = datetime.now(UTC)
    rows = [
        [each.id, _scopes(each), format_timestamp(each.created_at), _expiry(each, now), each.note] for each in tokens
    ]
    print_table(["ID", "SCOPES", "CREATED", "EXPIRES", "NOTE"], rows)
    for sentence in unreadable:
        print_line(f"{sentence}: revoke it")


@token.command("revoke")
@click.argument("id")
@_file
@codec_option
def revoke(*, id: str, file: Path, codec: PayloadCodec | None) -> None:
    """Let the token ID count no more. The token itself is understood too."""
    try:
        token_id = check_token_id(id)
        if not file.is_file():
            raise StoreError(f"{file} is not there: check the name (--db)")
        asyncio.run(_changed(file, codec, token_requests.revoke(token_id), lambda tokens: _revoke(tokens, token_id)))
    except WorkflowError as error:
        raise NotDoneWithTokenError(str(error)) from None
    print_line(f"revoked {token_id}")


async def _save(tokens: TokenStore, made: Token) -> None:
    if await tokens.count() >= MAX_TOKENS:
        raise TooManyTokensError(f"there are {MAX_TOKENS:,} tokens already: revoke those that nobody needs")
    await tokens.save(made)


async def _revoke(tokens: TokenStore, token_id: str) -> None:
    if not await tokens.delete(token_id):
        raise unknown_token(token_id)


async def _changed(
    file: Path,
    codec: PayloadCodec | None,
    request: OwnerRequest[None],
    here: Callable[[TokenStore], Awaitable[None]],
) -> None:
    """Make a change where no engine runs on the file, or have the engine make it that does. Either may change.

    Raises:
        StoreError: neither can be done. What the engine says.
    """
    loop = asyncio.get_running_loop()
    guard, owner = FileGuard(file), OwnerClient(socket_path(file))
    deadline, may_be_done = loop.time() + _PATIENCE_S, False
    try:
        while True:
            try:
                guard.acquire()
            except DatabaseInUseError as error:
                reason = str(error)
            else:
                return await _on_file(file, codec, here)
            try:
                await owner.ask(request, deadline)
            except NotDoneError as error:
                reason = f"{reason}; it does not answer: {error}"
            except AnswerLostError:
                may_be_done = True
            else:
                return None
            if loop.time() > deadline:
                raise StoreError(f"not within {_PATIENCE_S:g} s: {reason}")
            await asyncio.sleep(_PAUSE_S)
    except UnknownTokenError:
        if not may_be_done:  # an owner may have forgotten it, and could not say so any more
            raise
        return None
    finally:
        guard.release()
        await owner.close()


async def _on_file(file: Path, codec: PayloadCodec | None, here: Callable[[TokenStore], Awaitable[None]]) -> None:
    store = SqliteStore(file, codec=codec)
    await store.open()
    try:
        await here(store.tokens)
    finally:
        await store.close()


def _sentence(made: Token) -> str:
    until = "" if made.expires_at is None else f" until {format_timestamp(made.expires_at)}"
    return f"the token {made.id} has the scope{'s' * (len(made.scopes) > 1)} {_scopes(made)}{until}"


def _scopes(each: Token) -> str:
    return " ".join(scope for scope in SCOPES if scope in each.scopes)


def _expiry(each: Token, now: datetime) -> str:
    if each.expires_at is None:
        return "never"
    return f"{format_timestamp(each.expires_at)}{' (has expired)' if each.has_expired(now) else ''}"


def _as_json(each: Token) -> Any:
    return {
        "id": each.id,
        "scopes": [scope for scope in SCOPES if scope in each.scopes],
        "created_at": format_timestamp(each.created_at),
        "expires_at": None if each.expires_at is None else format_timestamp(each.expires_at),
        "note": each.note,
    }
