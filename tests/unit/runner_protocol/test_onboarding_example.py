"""The onboarding example, played without a server."""

import importlib.util
import json
from pathlib import Path

import pytest
from playing import Play

from runner_protocol import Workflow

WORKFLOW = Path(__file__).parents[3] / "examples" / "onboarding" / "workflow.py"


def onboarding() -> Workflow:
    spec = importlib.util.spec_from_file_location("onboarding_workflow", WORKFLOW)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert isinstance(module.onboarding, Workflow)
    return module.onboarding


async def test_a_user_who_confirms_is_active(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONBOARDING_LOG", str(tmp_path / "log"))
    play = Play(onboarding(), {"user": "alice", "flaky": True}, events={"user_confirmed": [{"ok": True}]})
    assert await play.run() == {"account": "acct_alice", "status": "active", "confirmation": {"ok": True}}
    assert play.keys() == [
        "create_account",
        "send_welcome",
        "send_welcome",
        "sleep",
        "event:user_confirmed",
        "activate",
    ]
    assert play.answers[1]["error"]["message"] == "mail server said no"
    assert play.answers[2]["output"] == {"sent_to": "alice"}
    assert play.answers[3]["duration"] == "24h"
    assert play.answers[4]["timeout"] == "1w"
    assert play.answers[5]["output"] == {"activated": True, "confirmed_by": {"ok": True}}
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [(line["key"], line["attempt"]) for line in lines] == [
        ("create_account", 1),
        ("send_welcome", 1),
        ("send_welcome", 2),
        ("activate", 1),
    ]


async def test_a_user_who_does_not_confirm_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONBOARDING_LOG", raising=False)
    play = Play(onboarding(), {"user": "bob", "pause": "1s"})
    assert await play.run() == {"account": "acct_bob", "status": "expired", "confirmation": None}
    assert play.keys() == ["create_account", "send_welcome", "sleep", "event:user_confirmed", "expire"]
    assert play.answers[2]["duration"] == "1s"
