"""How a runner knows the engine, and the engine the runner."""

import base64
import logging
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pylon_workflows import (
    EngineSettings,
    HttpRunner,
    InvalidInputError,
    LocalRunner,
    RunnerAuth,
    RunnerUnavailableError,
    UnknownWorkflowError,
    WorkflowDefinition,
    WorkflowEngine,
)
from pylon_workflows.testing import FakeClock, engine_in_memory, wait_until
from runner_protocol import Context, Runner, workflow
from runner_protocol.messages import Complete
from runner_protocol.signing import HEADERS, SECRETS_VARIABLE, SigningKeys
from tests.contracts.runner_contract import a_turn, answer_of
from tests.faults.hostile_runner import Behaviour, Exchange, HostileRunner

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ANOTHER = "whsec_" + base64.b64encode(bytes(range(32))).decode()


@dataclass(frozen=True)
class Certificates:
    """An authority that nobody trusts, and the certificates and keys of a server and of a client that it has signed."""

    authority: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    if shutil.which("openssl") is None:
        pytest.skip("makes its certificates with openssl")
    folder = tmp_path_factory.mktemp("certificates")
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    signed = "-CA authority.pem -CAkey authority.key -CAcreateserial -days 2"
    for command in (
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout authority.key -out authority.pem",
        "req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr",
        f"x509 -req -in server.csr {signed} -extfile names -out server.pem",
        "req -newkey rsa:2048 -nodes -subj /CN=engine -keyout client.key -out client.csr",
        f"x509 -req -in client.csr {signed} -out client.pem",
    ):
        made = subprocess.run(["openssl", *command.split()], cwd=folder, capture_output=True, check=False)
        assert made.returncode == 0, made.stderr
    names = ("authority.pem", "server.pem", "server.key", "client.pem", "client.key")
    return Certificates(*(folder / name for name in names))


def server_context(certificates: Certificates, *, wants_client: bool = False) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.server, certificates.server_key)
    if wants_client:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certificates.authority)
    return context


async def answers_with_what_came(exchange: Exchange) -> None:
    await exchange.answer(b'{"action":"complete"}')


def recording(seen: list[tuple[bytes, bytes]]) -> Callable[[Exchange], Awaitable[None]]:
    async def act(exchange: Exchange) -> None:
        seen.append((exchange.head, exchange.body))
        await exchange.answer(b'{"action":"complete"}')

    return act


def headers_of(head: bytes) -> list[tuple[bytes, bytes]]:
    lines = head.split(b"\r\n")[1:-2]
    return [(name.lower(), value) for name, _, value in (line.partition(b": ") for line in lines)]


@asynccontextmanager
async def asked(auth: RunnerAuth | None, *, turns: int = 1) -> AsyncIterator[list[tuple[bytes, bytes]]]:
    """Ask a server a few times, and give the heads and bodies that it has seen."""
    seen: list[tuple[bytes, bytes]] = []
    async with HostileRunner(Behaviour(recording(seen), "answered")) as server:
        async with HttpRunner(server.url, auth=auth, clock=FakeClock()) as runner:
            for _ in range(turns):
                assert await answer_of(runner, a_turn("ä" * 10)) == Complete()
        yield seen


async def test_each_request_is_signed_over_the_bytes_that_are_sent_with_all_secrets() -> None:
    now_s = FakeClock().now().timestamp()
    async with asked(RunnerAuth(secrets=[SECRET, ANOTHER]), turns=2) as seen:
        for head, body in seen:
            for secret in (SECRET, ANOTHER):
                SigningKeys([secret]).check(headers_of(head), body, now_s=now_s)
        ids = {dict(headers_of(head))[b"webhook-id"] for head, _ in seen}
        assert len(ids) == 2


async def test_a_large_request_is_signed_too() -> None:
    seen: list[tuple[bytes, bytes]] = []
    auth = RunnerAuth(secrets=[SECRET])
    server = HostileRunner(Behaviour(recording(seen), "answered"))
    async with server, HttpRunner(server.url, auth=auth) as runner:
        await answer_of(runner, a_turn("x" * 300_000))
    now_s = float(dict(headers_of(seen[0][0]))[b"webhook-timestamp"])
    SigningKeys([SECRET]).check(headers_of(seen[0][0]), seen[0][1], now_s=now_s)


async def test_without_secrets_nothing_is_signed_and_the_environments_are_secrets_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(SECRETS_VARIABLE, raising=False)
    async with asked(None) as seen:
        assert not set(HEADERS) & {name for name, _ in headers_of(seen[0][0])}
    monkeypatch.setenv(SECRETS_VARIABLE, SECRET)
    async with asked(None) as seen:
        SigningKeys([SECRET]).check(headers_of(seen[0][0]), seen[0][1], now_s=FakeClock().now().timestamp())


async def test_a_token_goes_as_bearer() -> None:
    async with asked(RunnerAuth(token="t0k3n")) as seen:
        assert dict(headers_of(seen[0][0]))[b"authorization"] == b"Bearer t0k3n"


async def test_only_the_given_authority_is_trusted(certificates: Certificates) -> None:
    done = Behaviour(answers_with_what_came, "answered")
    async with HostileRunner(done, ssl=server_context(certificates)) as server:
        async with HttpRunner(server.url) as runner:
            with pytest.raises(RunnerUnavailableError, match=r"cannot connect .*certificate"):
                await answer_of(runner, a_turn())
        async with HttpRunner(server.url, auth=RunnerAuth(ca=certificates.authority)) as runner:
            assert await answer_of(runner, a_turn()) == Complete()
        async with HttpRunner(server.url, auth=RunnerAuth(ca=certificates.client)) as runner:  # signed this none
            with pytest.raises(RunnerUnavailableError, match=r"cannot connect .*certificate"):
                await answer_of(runner, a_turn())


async def test_a_certificate_for_another_name_is_refused(certificates: Certificates) -> None:
    done = Behaviour(answers_with_what_came, "answered")
    async with HostileRunner(done, ssl=server_context(certificates)) as server:
        other_name = server.url.replace("127.0.0.1", "127.0.0.2")
        async with HttpRunner(other_name, auth=RunnerAuth(ca=certificates.authority)) as runner:
            with pytest.raises(RunnerUnavailableError, match="cannot connect"):
                await answer_of(runner, a_turn())


async def test_a_client_certificate_is_shown_to_a_server_that_wants_one(certificates: Certificates) -> None:
    pair = (certificates.client, certificates.client_key)
    done = Behaviour(answers_with_what_came, "answered")
    async with HostileRunner(done, ssl=server_context(certificates, wants_client=True)) as server:
        auth = RunnerAuth(ca=certificates.authority, client_certificate=pair)
        async with HttpRunner(server.url, auth=auth) as runner:
            assert await answer_of(runner, a_turn()) == Complete()
        async with HttpRunner(server.url, auth=RunnerAuth(ca=certificates.authority)) as runner:
            with pytest.raises(RunnerUnavailableError):
                await answer_of(runner, a_turn())


async def test_files_that_cannot_be_used_are_named_when_the_runner_is_opened(
    certificates: Certificates, tmp_path: Path
) -> None:
    (tmp_path / "empty.pem").write_text("")
    missing, empty = tmp_path / "missing.pem", tmp_path / "empty.pem"
    for auth, complaint in (
        (RunnerAuth(ca=missing), r"runner auth: ca: .*missing\.pem: No such file"),
        (RunnerAuth(ca=empty), r"runner auth: ca: .*empty\.pem: no such certificate in PEM"),
        (RunnerAuth(client_certificate=(missing, certificates.client_key)), r"client_certificate: .*missing\.pem and "),
        (RunnerAuth(client_certificate=(certificates.client, certificates.server_key)), "or a key that is not its own"),
    ):
        with pytest.raises(InvalidInputError, match=complaint):
            await HttpRunner("https://localhost/run", auth=auth).open()


@pytest.mark.parametrize(
    ("url", "auth", "complaint"),
    [
        ("http://runner/run", RunnerAuth(ca="ca.pem"), "ca: is of no use with an http:// URL"),
        (
            "http://runner/run",
            RunnerAuth(client_certificate=("a", "b")),
            "client_certificate: is of no use with an http",
        ),
        ("https://me:word@runner/run", RunnerAuth(token="t"), "has a user and a password already"),
    ],
)
def test_what_would_be_of_no_use_is_refused(url: str, auth: RunnerAuth, complaint: str) -> None:
    with pytest.raises(InvalidInputError, match=complaint):
        HttpRunner(url, auth=auth)


@pytest.mark.parametrize("arguments", [{"secrets": ["s3cr3t"]}, {"secrets": []}, {"token": "t0 k3n"}, {"token": ""}])
def test_secrets_and_tokens_that_are_none_are_refused_and_not_shown(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="runner auth: ") as caught:
        RunnerAuth(**arguments)
    assert "s3cr3t" not in str(caught.value)
    assert "k3n" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "auth", "is_told"),
    [
        ("http://runner.test/run", RunnerAuth(token="t0k3n"), True),
        ("http://me:t0k3n@10.0.0.7:9876/run", None, True),
        ("http://runner.test/run", RunnerAuth(secrets=[SECRET]), False),
        ("https://runner.test/run", RunnerAuth(token="t0k3n"), False),
        ("http://127.0.0.1:9876/run", RunnerAuth(token="t0k3n"), False),
        ("http://[::1]:9876/run", RunnerAuth(token="t0k3n"), False),
        ("http://localhost:9876/run", RunnerAuth(token="t0k3n"), False),
    ],
)
async def test_a_token_that_others_may_read_on_the_way_is_told_of(
    url: str, auth: RunnerAuth | None, is_told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with HttpRunner(url, auth=auth):
        pass
    assert [record.levelname for record in caplog.records] == ["WARNING"] * is_told
    assert ("over http://, which others may read on the way: use https://" in caplog.text) is is_told
    assert "t0k3n" not in caplog.text


async def test_a_runner_that_refuses_to_tell_of_its_workflows_is_named_with_what_to_do(
    caplog: pytest.LogCaptureFixture,
) -> None:
    kit = Runner([all_ways], secrets=[SECRET])
    clock = FakeClock()
    what = "a runner does not say which"
    with caplog.at_level(logging.INFO):
        async with engine_in_memory(LocalRunner(kit.app, secrets=[ANOTHER], clock=clock), clock=clock) as engine:
            for _ in range(3):
                with pytest.raises(UnknownWorkflowError, match="no workflow is named 'all-ways'") as caught:
                    await engine.start("all-ways")
                clock.advance(60)
    said = str(caught.value)
    assert f"registered: none; {what} it has: the runner answered 401 Unauthorized" in said
    assert "PYLON_WORKFLOW_RUNNER_SECRETS" in said
    told = [record for record in caplog.records if what in record.message]
    assert [record.levelname for record in told] == ["WARNING"]
    assert "whsec" not in caplog.text + said


async def test_a_refusal_says_at_which_url_and_is_forgotten_with_the_next_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    refusals = ["503 Service Unavailable", "401 Unauthorized"]

    async def act(exchange: Exchange) -> None:
        if refusals:
            await exchange.answer(b"", refusals.pop(0))
        else:
            await exchange.answer(b'{"action":"description","protocol":2,"workflows":[{"name":"order"}]}')

    clock = FakeClock()
    async with HostileRunner(Behaviour(act, "answered")) as server:
        place = server.url.removeprefix("http://").partition("/")[0]
        async with engine_in_memory(HttpRunner(server.url, clock=clock), clock=clock) as engine:
            for said in ("answered 503 Service Unavailable", "answered 401 Unauthorized (it does not accept who asks"):
                with pytest.raises(UnknownWorkflowError) as caught:
                    await engine.start("mail")
                assert f"the runner at {place} {said}" in str(caught.value)
                clock.advance(1)
            with pytest.raises(UnknownWorkflowError) as caught:
                await engine.start("mail")
            assert str(caught.value) == "no workflow is named 'mail'; registered: order"
    told = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len(told) == 1
    assert f"the runner at {place} answered 401" in told[0]


def test_it_does_not_show_its_secrets() -> None:
    assert "whsec" not in repr(RunnerAuth(secrets=[SECRET], token="t0k3n"))
    assert "t0k3n" not in repr(RunnerAuth(secrets=[SECRET], token="t0k3n"))


def test_tls_is_verified_whatever_is_configured() -> None:
    fields = RunnerAuth.__dataclass_fields__
    assert set(fields) == {"secrets", "token", "client_certificate", "ca"}  # none of them turns it off


@workflow("all-ways")
async def all_ways(ctx: Context, input: Any) -> Any:
    first = await ctx.step("first", lambda: 1)
    return [first, await ctx.map("each", [2, 3], lambda item: item)]


async def test_turns_members_and_discovery_are_all_signed() -> None:
    kit = Runner([all_ways], secrets=[SECRET])
    async with engine_in_memory(LocalRunner(kit.app, secrets=[ANOTHER, SECRET])) as engine:
        instance_id = await engine.start("all-ways")
        assert await engine.result(instance_id, timeout=10) == [1, [2, 3]]


async def test_a_runner_that_refuses_uses_up_no_retry_and_the_log_says_what_to_look_at(
    caplog: pytest.LogCaptureFixture,
) -> None:
    kit = Runner([all_ways], secrets=[SECRET])
    clock = FakeClock()
    with caplog.at_level(logging.INFO):
        async with engine_in_memory(LocalRunner(kit.app, secrets=[ANOTHER], clock=clock), clock=clock) as engine:
            engine.register(WorkflowDefinition("all-ways", max_retries=0))
            instance_id = await engine.start("all-ways")
            shown = await engine.get(instance_id)
            for _ in range(3):
                await wait_until(lambda: engine.waiting_for_runner(shown) is not None)
                clock.advance(400)
            instance = await engine.get(instance_id)
            assert (instance.status.value, len(instance.records)) == ("pending", 0)
    told = [record.message for record in caplog.records if "is asked again and again" in record.message]
    assert len(told) == 1
    assert "401 Unauthorized (it does not accept who asks: compare the secrets, the token and the clocks" in told[0]
    assert "whsec" not in caplog.text


async def test_it_is_for_all_runners_that_are_given_as_urls_and_no_others(tmp_path: Path) -> None:
    seen: list[tuple[bytes, bytes]] = []
    own: list[tuple[bytes, bytes]] = []
    async with (
        HostileRunner(Behaviour(recording(seen), "answered")) as server,
        HostileRunner(Behaviour(recording(own), "answered")) as other,
    ):
        engine = WorkflowEngine(
            runner=server.url,
            runners={"mail": server.url + "/mail", "ship": HttpRunner(other.url, auth=RunnerAuth(token="t0k3n"))},
            runner_auth=RunnerAuth(secrets=[SECRET]),
            database=tmp_path / "w.db",
            settings=EngineSettings(has_discovery=False, shutdown_grace_s=0),
        )
        for name in ("order", "mail", "ship"):
            engine.register(WorkflowDefinition(name))
        async with engine:
            for name in ("order", "mail", "ship"):
                await engine.wait(await engine.start(name), timeout=10)
    assert len(seen) == 2
    for head, body in seen:
        sent = headers_of(head)
        SigningKeys([SECRET]).check(sent, body, now_s=float(dict(sent)[b"webhook-timestamp"]))
    (head, _) = own[0]
    assert dict(headers_of(head))[b"authorization"] == b"Bearer t0k3n"
    assert b"webhook-signature" not in dict(headers_of(head))


def test_without_a_url_that_it_could_be_for_it_is_refused() -> None:
    runner = LocalRunner(Runner([all_ways]))
    with pytest.raises(InvalidInputError, match="secrets: are of no use with a target that is no ASGI app"):
        LocalRunner(Runner([all_ways]), secrets=[SECRET])
    with pytest.raises(InvalidInputError, match="runner_auth: is for runners that are given as URLs"):
        WorkflowEngine(runner=runner, runner_auth=RunnerAuth(token="t"))
    with pytest.raises(InvalidInputError, match="ca: is of no use with an http:// URL"):
        WorkflowEngine(runner="http://127.0.0.1:9876/run", runner_auth=RunnerAuth(ca="ca.pem"))
