"""What the documents say is so: their commands, messages, tables, sentences and links."""

import ast
import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest
from document_blocks import DOCUMENTS, ROOT, Block, all_blocks, blocks_of, prose_of, text_of
from shell_commands import check_click, check_command

from pylon_workflows import Limits, __version__, errors
from pylon_workflows.actions import MAX_DEPTH_OF_CHILDREN
from pylon_workflows.api import history_shapes, schemas
from pylon_workflows.api.answers import explain
from pylon_workflows.api.bulk_shapes import MAX_STATUSES
from pylon_workflows.api.openapi import OPERATIONS
from pylon_workflows.cli import main as command_line
from pylon_workflows.core.commands import MAX_UNREAD_EVENTS
from pylon_workflows.core.deciding.asking import MAX_LOG_LENGTH, MAX_VARS_BYTES
from pylon_workflows.core.instance import Status
from pylon_workflows.hooks import app as hooks_app
from pylon_workflows.notices import Notice
from pylon_workflows.outbound_webhooks import message_of
from pylon_workflows.ports import MAX_PAGE, InstanceSummary
from pylon_workflows.published import MAX_CORRELATION_LENGTH
from pylon_workflows.settings import EngineSettings
from pylon_workflows.settings_file import load_settings
from runner_protocol.actions import MAX_MEMBERS, MAX_MEMBERS_IN_FLIGHT
from runner_protocol.bounds import MAX_LOG_LINES, MAX_MATCHED, MAX_VARS, MAX_WORKFLOWS
from runner_protocol.kit.context import Context
from runner_protocol.kit.options import StepOptions
from runner_protocol.messages import MAX_ANSWER_BYTES, parse_action, parse_request
from tests.contracts.store_contract import new_instance

OPERATIONS_PAGE = "docs/operations.md"
NEVER_OVER_HTTP = (
    "turn-open", "turn-not-open", "database-in-use", "newer-database", "wrong-codec",
    "unknown-token", "too-many-tokens",
)  # fmt: skip
"""Told to who calls the engine or the command line: no route of the API leads to them."""
A_NOTICE = Notice.of(InstanceSummary.of(new_instance()), key=1, message_id="msg_1", at=datetime(2026, 1, 1, tzinfo=UTC))
LANGUAGES = {"python", "sh", "toml", "ts", "text", "json", "mermaid", "ini", "dockerfile"}


def test_every_block_is_of_a_kind_that_a_test_knows() -> None:
    for document in DOCUMENTS:
        assert text_of(document).count("\n```") == 2 * len(blocks_of(document)), (
            f"{document}: a fence without a language"
        )
    for block in all_blocks(*LANGUAGES):
        match block.language:
            case "python" | "toml" | "ts":
                assert block.words.keys() & {"file", "run"}, block
            case "text":
                assert block.words.keys() & {"output", "message"}, block
            case "json":
                assert block.words.keys() & {"message", "answer", "webhook"}, block
    known = sum(len(blocks_of(document)) for document in DOCUMENTS)
    assert known == len(all_blocks(*LANGUAGES))


@pytest.mark.parametrize("block", all_blocks("sh"), ids=str)
def test_a_shell_block_has_only_commands_that_there_are(block: Block) -> None:
    for line in block.commands:
        check_command(line, block)


@pytest.mark.parametrize("line", ["list --statsu failed", "serve --database x", "restart", "show"])
def test_a_wrong_command_would_be_found(line: str) -> None:
    with pytest.raises(click.ClickException):
        check_click(command_line, line.split())


def test_what_starts_in_a_container_and_as_a_service_is_a_command() -> None:
    [dockerfile], [unit] = all_blocks("dockerfile"), all_blocks("ini")
    container = json.loads(re.search(r"^CMD (\[.*\])$", dockerfile.text, re.MULTILINE)[1])
    assert f"pylon_workflows-{__version__}-" in dockerfile.text
    service = re.search(r"^ExecStart=\S+/pylon-workflows (.*)$", unit.text, re.MULTILINE)[1].split()
    for arguments in (container[1:], service):
        check_click(command_line, [*arguments, "--token", "t"])


@pytest.mark.parametrize("block", all_blocks("json"), ids=str)
def test_a_json_block_is_what_it_says(block: Block) -> None:
    text = block.text.encode()
    match block.words:
        case {"message": "request"}:
            request = parse_request(text)
            assert set(json.loads(text)) == set(type(request).model_fields)
        case {"message": "action"}:
            action = parse_action(text)
            assert set(json.loads(text)) <= set(type(action).model_fields)
        case {"answer": shape}:
            model = getattr(schemas, shape, None) or getattr(history_shapes, shape)
            model.model_validate_json(text)
            assert set(json.loads(text)) == set(model.model_fields)
        case {"webhook": _}:
            sent, told = message_of(A_NOTICE), json.loads(text)
            assert (set(told), set(told["data"])) == (set(sent), set(sent["data"]))


def test_the_state_diagram_is_that_of_the_core() -> None:
    done = subprocess.run([sys.executable, ROOT / "tools" / "state_diagram.py", "--check"], check=False)
    assert done.returncode == 0


def table(document: str, title: str) -> list[list[str]]:
    """The rows of the table whose first column has this title."""
    rows: list[list[str]] = []
    is_in = False
    for line in text_of(document).splitlines():
        cells = [cell.strip() for cell in line[1:-1].split("|")] if line.startswith("|") else []
        if cells and cells[0] == title:
            is_in = True
        elif not cells:
            is_in = False
        elif is_in and set(line) - set("|-"):
            rows.append(cells)
    assert rows, f"{document} has no table {title!r}"
    return rows


def test_the_table_of_routes_is_that_of_the_api() -> None:
    documented = {cells[0].strip("`") for cells in table(OPERATIONS_PAGE, "route")}
    assert documented == {f"{method.upper()} {path}" for path, method in OPERATIONS}


def test_the_table_of_commands_is_that_of_the_program() -> None:
    cells = [row[0] for row in table(OPERATIONS_PAGE, "command")]
    assert {name for cell in cells for name in re.findall(r"`([\w-]+)`", cell)} == set(command_line.commands)


def kinds_of(kind: type[errors.WorkflowError]) -> set[type[errors.WorkflowError]]:
    """The errors of that kind, but for those that tests define."""
    below = {each for child in kind.__subclasses__() for each in kinds_of(child)}
    return {each for each in {kind, *below} if each.__module__.startswith("pylon_workflows.")}


def written_problems() -> dict[str, str]:
    """The problems that the code writes down as they are, beside those that it makes of errors: code and status."""
    found = {}
    for path in (ROOT / "pylon_workflows").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Problem":
                terms = {each.arg: each.value for each in call.keywords}
                if isinstance(terms["code"], ast.Constant):
                    found[terms["code"].value] = ast.unparse(terms["status"])
    return found


def test_the_table_of_error_codes_is_all_that_can_be_answered() -> None:
    """By the API, by webhooks and by the edge of `serve`."""
    concrete = (
        errors.StoreError, errors.InvalidInputError, errors.InvalidIdError, errors.CorruptDatabaseError,
        errors.InboxFullError,
    )  # fmt: skip
    rows = {cells[0].strip("`"): cells for cells in table(OPERATIONS_PAGE, "code")}
    answered = {**written_problems(), "refused": "its own"}
    assert len(answered) >= 8
    for kind in kinds_of(errors.WorkflowError):
        is_abstract = bool(kind.__subclasses__()) and kind not in concrete
        if is_abstract or issubclass(kind, errors.OutcomeError) or kind.code in NEVER_OVER_HTTP:
            continue
        problem, to_a_webhook = explain(kind("why")), hooks_app._explain(kind("why"))
        if problem is not None and to_a_webhook is not None:
            answered[problem.code] = str(problem.status)
            assert str(to_a_webhook.status) in " ".join(rows.get(problem.code, [])), problem.code
    assert {code: cells[1] for code, cells in rows.items()} == answered


def test_the_limits_are_those_of_the_code() -> None:
    limits = {cells[0]: cells[1] for cells in table(OPERATIONS_PAGE, "what") if len(cells) == 4}
    settings, api = EngineSettings(), Limits()
    assert limits["body of an API request"] == f"{api.max_body_bytes:,} bytes"
    assert limits["time for a body to arrive"] == f"{api.body_timeout_s:g} s"
    assert limits["input of a start"] == f"{settings.max_input_bytes:,} bytes"
    assert limits["data of an event"] == f"{settings.max_event_bytes:,} bytes"
    assert limits["a runner's answer"] == f"{MAX_ANSWER_BYTES:,} bytes"
    assert limits["unread events of an instance"] == f"{MAX_UNREAD_EVENTS:,}"
    kept = "published events of one name and correlation key that nobody has claimed"
    assert limits[kept] == f"{settings.max_kept_events:,}"
    assert limits["correlation key"] == f"{MAX_CORRELATION_LENGTH} characters"
    assert limits["records of a run"] == f"{settings.max_records:,}"
    assert limits["outputs of a run"] == f"{settings.max_history_bytes:,} bytes"
    assert limits["variables of an instance, together"] == f"{MAX_VARS_BYTES:,} bytes"
    assert limits["log lines of an action; characters of each"] == f"{MAX_LOG_LINES}; {MAX_LOG_LENGTH:,}"
    assert limits["turns asked at a time"] == f"{settings.max_in_flight}"
    assert limits["variables that an action sets, or removes; paths of its `match`"] == f"{MAX_VARS:,}; {MAX_MATCHED:,}"
    assert limits["workflows that a runner describes"] == f"{MAX_WORKFLOWS:,}"
    assert limits["page of a list; statuses that a change of many names"] == f"{MAX_PAGE}; {MAX_STATUSES}"
    in_groups = f"{MAX_MEMBERS:,}; {MAX_MEMBERS_IN_FLIGHT:,} (10 unless the code says)"
    assert limits["members of a group; called at a time"] == in_groups
    assert limits["children in children"] == f"{MAX_DEPTH_OF_CHILDREN}"
    named = re.findall(r"`(EngineSettings|Limits)\.(\w+)`", text_of(OPERATIONS_PAGE))
    owners = {"EngineSettings": settings, "Limits": api}
    assert named
    assert all(hasattr(owners[owner], name) for owner, name in named)


def test_the_file_of_settings_says_what_the_code_beside_it_says(tmp_path: Path) -> None:
    [shown] = [block for block in blocks_of("docs/operations.md") if block.words.get("file") == "settings.toml"]
    (tmp_path / "settings.toml").write_text(shown.text)
    settings = EngineSettings(**load_settings(tmp_path / "settings.toml"))
    assert settings == EngineSettings(retain_finished_for=timedelta(days=7), max_history=100_000, max_in_flight=64)


def test_every_helper_for_authors_is_shown() -> None:
    text = text_of("docs/workflows.md")
    helpers = [name for name in dir(Context) if not name.startswith("_")] + ["log"]
    assert [name for name in helpers if f"ctx.{name}" not in text] == []
    assert [name for name in StepOptions.__annotations__ if f"`{name}`" not in text] == []


def test_helpers_have_the_names_that_the_typescript_kit_gives_them() -> None:
    kit = "".join(path.read_text() for path in (ROOT / "runner_protocol" / "typescript" / "src").glob("*.ts"))
    names = {name for row in table("docs/workflows.md", "Python") for name in re.findall(r"`(\w+)", row[1])}
    assert {"waitForEvent", "continueAsNew"} < names
    assert [name for name in names if name != "Promise" and not re.search(rf"\b{name}[(<:]", kit)] == []


def test_every_status_is_explained_and_listed() -> None:
    for status in Status:
        assert f"**{status}**" in text_of("docs/concepts.md")
    assert f"`{' '.join(Status)}`" in text_of(OPERATIONS_PAGE)


def sources() -> str:
    """The code's text, in which strings that follow each other are one and the values put into them are gaps."""
    paths = [path for package in ("pylon_workflows", "runner_protocol") for path in (ROOT / package).rglob("*.py")]
    text = "\n".join(path.read_text() for path in paths)
    return re.sub(r'"\s*\n\s*f?"', "", text).replace("`", "")


def test_the_sentences_of_the_troubleshooting_are_the_codes() -> None:
    text = sources()
    shown = [cells[0].strip("`") for cells in table(OPERATIONS_PAGE, "what you read")]
    shown += [block.text.strip() for block in all_blocks("text") if "message" in block.words]
    for sentence in shown:
        for fragment in re.split(r"\.\.\.|orders\.db|process \d+ on [\w-]+, since \S+(?=: )|: ", sentence):
            assert fragment.strip(" :;,") in text, f"{fragment!r} of {sentence!r} is nowhere in the code"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose_of(document)):
        path, _, anchor = target.partition("#")
        linked = (ROOT / document).parent / path if path else ROOT / document
        assert "://" not in target, f"{target}: only links within the repository"
        assert linked.resolve().exists(), f"{document} links {target}"
        if anchor:
            titles = re.findall(r"^#+ (.+)$", linked.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_nothing_of_this_machine_or_of_a_registry_is_told(document: str) -> None:
    text = text_of(document)
    assert not re.search(r"/(work|root|home|tmp|Users)/", text)
    assert not re.search(r"pypi|npmjs|registry\.|crates\.io|files\.pythonhosted", text, re.IGNORECASE)
    assert not re.search(r"https?://(?!127\.0\.0\.1|HOST)", text)


def test_decision_records_are_numbered_and_of_one_shape() -> None:
    records = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    numbers = [int(path.name[:4]) for path in records]
    assert len(set(numbers)) == len(numbers)
    for number, path in zip(numbers, records, strict=True):
        text = path.read_text()
        assert text.startswith(f"# {number}. ")
        assert re.findall(r"^## (\w+)", text, re.MULTILINE)[:3] == ["Context", "Decision", "Consequences"]


def test_decision_records_that_the_code_names_are_there() -> None:
    for path in (ROOT / "pylon_workflows").rglob("*.py"):
        for name in re.findall(r"docs/decisions/[\w-]+\.md", path.read_text()):
            assert (ROOT / name).exists(), f"{path.name} names {name}"


def test_promises_that_the_code_names_are_made() -> None:
    made = re.findall(r"^- \*\*(P\d+)\*\*", text_of("docs/PROMISES.md"), re.MULTILINE)
    assert made == [f"P{number}" for number in range(1, len(made) + 1)]
    for path in [*(ROOT / "pylon_workflows").rglob("*.py"), *(ROOT / "runner_protocol").rglob("*.py")]:
        assert set(re.findall(r"\bP\d+\b", path.read_text())) <= set(made), path.name


def test_the_changelog_begins_with_this_version_or_with_what_comes_after_it() -> None:
    headings = re.findall(r"^## (\S+)", text_of("CHANGELOG.md"), re.MULTILINE)
    assert headings[headings[0] == "Unreleased"] == __version__


def test_files_that_the_documents_name_in_passing_exist() -> None:
    for document in DOCUMENTS:
        for name in re.findall(r"`((?:core|store|runner|api|tools|tests|examples)/[\w./-]+)`", text_of(document)):
            found = [ROOT / name, ROOT / "pylon_workflows" / name]
            assert any(path.exists() for path in found), f"{document} names {name}"
    assert Path(ROOT / "LICENSE").exists()
