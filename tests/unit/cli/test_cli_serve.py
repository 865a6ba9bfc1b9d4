import logging
import runpy
import sys
import tomllib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from local_server import Run

from pylon_workflows import demo
from pylon_workflows.cli import serving
from pylon_workflows.definitions import WorkflowDefinition
from pylon_workflows.errors import DatabaseInUseError, InvalidInputError
from pylon_workflows.outbound_webhooks import OutboundWebhook
from pylon_workflows.runner.auth import RunnerAuth
from pylon_workflows.server import ServeOptions
from pylon_workflows.settings import EngineSettings
from runner_protocol.signing import SECRETS_VARIABLE

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ANOTHER = "whsec_" + "QUJD" * 8
THIRD = "whsec_" + "QUJE" * 8


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[ServeOptions]:
    """What `serve` would have run with."""
    options: list[ServeOptions] = []
    monkeypatch.setattr(serving, "run_server", lambda given, announce: options.append(given))
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
    for name in ("PYLON_WORKFLOW_TOKEN", "PYLON_WORKFLOW_RUNNER_URL", "PYLON_WORKFLOW_HOOKS_URL", SECRETS_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    return options


def test_serve_passes_on_what_it_is_told(run: Run, told: list[ServeOptions]) -> None:
    result = run(
        "serve", "--runner", "http://127.0.0.1:1/run", "--db", "x.db", "--host", "0.0.0.0", "--port", "0",
        "--workflow", "onboarding", "--workflow", "billing:5", "--workflow", "a:b:3", "--token", "t",
        "--allowed-host", "a.example", "--allowed-host", "*.b.example", "--cors-origin", "https://c.example",
        "--head-timeout", "3", "--max-connections", "70",
        "--synchronous", "normal", "--loop", "asyncio", "--access-log", "--no-discovery",
        "--runner-for", "mail=http://127.0.0.1:2/run?a=http://b", "--runner-for", "a=b@2=https://x.example",
    )  # fmt: skip
    assert result.exit_code == 0
    assert told == [
        ServeOptions(
            runner="http://127.0.0.1:1/run",
            database="x.db",
            host="0.0.0.0",
            port=0,
            token="t",
            allowed_hosts=("a.example", "*.b.example"),
            cors_origins=("https://c.example",),
            head_timeout_s=3.0,
            max_connections=70,
            workflows=[
                WorkflowDefinition("onboarding"),
                WorkflowDefinition("billing", max_retries=5),
                WorkflowDefinition("a:b", max_retries=3),
            ],
            synchronous="normal",
            loop="asyncio",
            has_access_log=True,
            runners={"mail": "http://127.0.0.1:2/run?a=http://b", "a=b@2": "https://x.example"},
            settings=EngineSettings(has_discovery=False),
        )
    ]


def test_serve_needs_to_be_told_nothing(run: Run, told: list[ServeOptions]) -> None:
    assert run("serve").exit_code == 0
    assert told == [ServeOptions(workflows=[])]


def test_the_environment_names_runner_and_token(
    run: Run, told: list[ServeOptions], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYLON_WORKFLOW_TOKEN", "t")
    monkeypatch.setenv("PYLON_WORKFLOW_RUNNER_URL", "http://127.0.0.1:2/run")
    run("serve")
    monkeypatch.setenv("PYLON_WORKFLOW_TOKEN", "")
    run("serve")
    assert [(options.token, options.runner) for options in told] == [
        ("t", "http://127.0.0.1:2/run"),
        (None, "http://127.0.0.1:2/run"),
    ]


def test_settings_come_from_a_file_and_options_go_before_it(run: Run, told: list[ServeOptions], tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('retain_finished_for = "7d"\nmax_input_bytes = 10\nmax_event_bytes = 11\nhas_discovery = false')
    result = run("serve", "--settings", str(file), "--max-input", "20")
    assert result.exit_code == 0, result.stderr
    assert told[0].settings == EngineSettings(
        retain_finished_for=timedelta(days=7), max_input_bytes=20, max_event_bytes=11, has_discovery=False
    )
    file.write_text("max_in_flight = 0")
    result = run("serve", "--settings", str(file))
    assert result.exit_code == 2
    assert "max_in_flight: must be at least 1, not 0" in result.stderr
    result = run("serve", "--settings", "none.toml")
    assert result.exit_code == 2
    assert "none.toml: cannot be read: " in result.stderr


def test_what_runners_are_shown_comes_from_variables_and_files(
    run: Run, told: list[ServeOptions], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    files = [str(tmp_path / name) for name in ("client.pem", "client.key", "ca.pem")]
    for file in files:
        Path(file).write_text("")
    for name, value in (("NEW", SECRET), ("OLD", ANOTHER), ("TOKEN", "t0k3n")):
        monkeypatch.setenv(f"MY_{name}", value)
    result = run(
        "serve", "--runner", "https://runner.example/run",
        "--runner-secret-env", "MY_NEW", "--runner-secret-env", "MY_OLD",
        "--runner-token-env", "MY_TOKEN", "--runner-cert", files[0], "--runner-key", files[1], "--runner-ca", files[2],
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    pair = (files[0], files[1])
    expected = RunnerAuth(secrets=[SECRET, ANOTHER], token="t0k3n", client_certificate=pair, ca=files[2])
    assert told[0].runner_auth == expected


def test_where_hook_urls_lead_may_come_from_the_environment(
    run: Run, told: list[ServeOptions], monkeypatch: pytest.MonkeyPatch
) -> None:
    run("serve", "--hooks-url", "https://a.example/hooks", "--host", "0.0.0.0")
    monkeypatch.setenv("PYLON_WORKFLOW_HOOKS_URL", "https://b.example/hooks")
    run("serve")
    monkeypatch.setenv("PYLON_WORKFLOW_HOOKS_URL", "")
    run("serve")
    urls = [options.settings.hooks_url for options in told]
    assert urls == ["https://a.example/hooks", "https://b.example/hooks", None]


def test_where_hook_urls_lead_is_said_by_the_option_then_the_file_then_the_environment(
    run: Run, told: list[ServeOptions], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYLON_WORKFLOW_HOOKS_URL", "https://environment.example")
    file = tmp_path / "settings.toml"
    file.write_text('hooks_url = "https://file.example"')
    for arguments in ((), ("--settings", str(file)), ("--settings", str(file), "--hooks-url", "")):
        assert run("serve", *arguments).exit_code == 0
    assert [options.settings.hooks_url for options in told] == [
        "https://environment.example",
        "https://file.example",
        None,
    ]


def test_who_is_told_of_what_ends_is_named_on_the_command_line_and_the_secrets_in_variables(
    run: Run, told: list[ServeOptions], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_A", f"{SECRET}, {ANOTHER}")
    monkeypatch.setenv("MY_B", THIRD)
    result = run(
        "serve", "--notify-url", "https://a.example", "--notify-url", "https://b.example",
        "--notify-secret-env", "MY_A", "--notify-secret-env", "MY_B",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert told[0].webhooks == (
        OutboundWebhook(url="https://a.example", secrets=[SECRET, ANOTHER]),
        OutboundWebhook(url="https://b.example", secrets=[THIRD]),
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--runner-secret-env", "MY_NOTHING"], "--runner-secret-env: the environment variable MY_NOTHING is not set"),
        (["--runner-secret-env", "MY_BAD"], "secrets: number 1 is no secret"),
        (["--runner-token-env", "MY_NOTHING"], "--runner-token-env: the environment variable MY_NOTHING is not set"),
        (["--runner-cert", __file__], "--runner-cert and --runner-key belong together"),
        (["--runner-ca", "nowhere.pem"], "nowhere.pem"),
        (["--notify-url", "https://x.test"], "--notify-url and --notify-secret-env belong together"),
        (["--notify-secret-env", "MY_BAD"], "--notify-url and --notify-secret-env belong together"),
        (
            ["--notify-url", "https://x.test", "--notify-secret-env", "MY_BAD"],
            "webhook: secrets: number 1 is no secret",
        ),
        (["--notify-url", "x.test", "--notify-secret-env", "MY_SECRET"], "webhook: url: should begin with http"),
        (
            ["--notify-url", "https://x.test", "--notify-url", "https://y.test", "--notify-secret-env", "MY_SECRET"],
            "one variable for each URL, in the same order, which may hold several secrets with commas between; "
            "there are 2 and 1",
        ),
        (
            ["--notify-url", "https://x.test", "--notify-url", "https://y.test"]
            + 2 * ["--notify-secret-env", "MY_SECRET"],
            "webhooks: two have a secret in common",
        ),
        (["--hooks-url", "shop.example/hooks"], "hooks_url: 'shop.example/hooks' should be like https://"),
    ],
)
def test_what_is_no_secret_file_or_url_is_wrong_usage(
    run: Run, told: list[ServeOptions], monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.delenv("MY_NOTHING", raising=False)
    monkeypatch.setenv("MY_BAD", "changeme")
    monkeypatch.setenv("MY_SECRET", SECRET)
    result = run("serve", *arguments)
    assert (result.exit_code, told) == (2, [])
    assert said in " ".join(result.stderr.split())
    assert "changeme" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "0.0.0.0"], "set a token"),
        (["--host", "::"], "set a token"),
        (["--token", ""], "is empty"),
        (["--token", f"pw_{12 * 'a'}_{43 * 'b'}"], "token: is one of those that `token create` makes"),
        (["--token", "a b"], "token: must be one or more visible ASCII characters"),
        (["--workflow", ""], "name"),
        (["--workflow", "x" * 129], "name"),
        (["--workflow", "x:9999999"], "max_retries"),
        (["--workflow", ":3"], "name"),
        (["--runner-for", "orders"], "orders=http"),
        (["--runner-for", "orders=ftp://x"], "orders=http"),
        (["--runner-for", "orders=http://a", "--runner-for", "orders=http://b"], "two URLs"),
        (["--port", "65536"], "--port"),
        (["--allowed-host", "http://a"], "allowed_hosts"),
        (["--cors-origin", "*"], "cors_origins"),
        (["--head-timeout", "0"], "--head-timeout"),
        (["--max-connections", "0"], "--max-connections"),
        (["--synchronous", "off"], "--synchronous"),
    ],
)
def test_wrong_usage_exits_2_with_a_sentence(
    run: Run, told: list[ServeOptions], arguments: list[str], said: str
) -> None:
    result = run("serve", *arguments)
    assert (result.exit_code, told) == (2, [])
    assert said in " ".join(result.stderr.split())


def test_an_engine_that_refuses_to_start_exits_1_with_its_sentence(
    run: Run, told: list[ServeOptions], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_options: ServeOptions, announce: object) -> None:
        raise DatabaseInUseError("x.db is in use by process 7")

    monkeypatch.setattr(serving, "run_server", refuse)
    result = run("serve")
    assert (result.exit_code, result.stderr, told) == (1, "Error: x.db is in use by process 7\n", [])


@pytest.mark.parametrize(("is_good", "status"), [(True, 0), (False, 1)])
def test_the_demo_exits_0_when_it_went_well(
    run: Run, monkeypatch: pytest.MonkeyPatch, *, is_good: bool, status: int
) -> None:
    def play(kit: str, say: Callable[[str], None]) -> bool:
        say(f"with the {kit} kit")
        return is_good

    monkeypatch.setattr(demo, "run", play)
    result = run("demo", "--runner", "typescript")
    assert (result.exit_code, result.output) == (status, "with the typescript kit\n")


def test_a_demo_that_cannot_start_exits_1_with_its_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_kit: str, _say: Callable[[str], None]) -> bool:
        raise InvalidInputError("runner: the TypeScript example needs Node")

    monkeypatch.setattr(demo, "run", refuse)
    result = run("demo")
    assert (result.exit_code, result.stderr) == (1, "Error: runner: the TypeScript example needs Node\n")


def test_the_version_is_the_packages(run: Run) -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    assert run("--version").output == f"pylon-workflows, version {project['version']}\n"


def test_the_package_is_the_program(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["pylon-workflows", "--version"])
    with pytest.raises(SystemExit) as exit_:
        runpy.run_module("pylon_workflows", run_name="__main__")
    assert exit_.value.code == 0
    assert capsys.readouterr().out.startswith("pylon-workflows, version ")
    assert runpy.run_module("pylon_workflows.__main__")["main"]


def test_help_names_every_command(run: Run) -> None:
    output = run("--help").output
    for command in ("serve", "demo", "list", "show", "start", "send-event", "cancel", "resume", "delete"):
        assert f"  {command} " in output


def test_retries_that_are_no_number_are_refused(run: Run) -> None:
    result = run("serve", "--workflow", "order:abc")
    assert result.exit_code == 2
    assert "'order:abc': RETRIES: 'abc' is no number" in result.stderr
