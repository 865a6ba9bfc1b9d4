"""A new user is welcomed, given a day, and has a week to confirm. The TypeScript twin does exactly the same."""

import json
import os
from typing import Any

from runner_protocol import Context, current_step, workflow


def create_account(user: str) -> dict[str, str]:
    note_execution()
    return {"account": f"acct_{user}"}


async def send_welcome(user: str, is_flaky: bool) -> dict[str, str]:
    note_execution()
    if is_flaky and current_step().number == 1:
        raise ConnectionError("mail server said no")
    return {"sent_to": user}


def activate(confirmation: Any) -> dict[str, Any]:
    note_execution()
    return {"activated": True, "confirmed_by": confirmation}


def expire() -> dict[str, bool]:
    note_execution()
    return {"expired": True}


@workflow("onboarding")
async def onboarding(ctx: Context, input: dict[str, Any]) -> dict[str, Any]:
    account = await ctx.step("create_account", create_account, input["user"])
    await ctx.step("send_welcome", send_welcome, input["user"], input.get("flaky") is True)
    await ctx.sleep(input.get("pause") or "24h")
    confirmation = await ctx.wait_for_event("user_confirmed", timeout="7d")
    if confirmation is None:
        await ctx.step("expire", expire)
        status = "expired"
    else:
        await ctx.step("activate", activate, confirmation)
        status = "active"
    return {"account": account["account"], "status": status, "confirmation": confirmation}


def note_execution() -> None:
    """Append a line to the log, if one is wanted: it shows which step bodies really ran, and how often."""
    if path := os.environ.get("ONBOARDING_LOG"):
        step = current_step()
        line = {
            "workflow_id": step.workflow_id,
            "key": step.key,
            "attempt": step.number,
            "idempotency_key": step.idempotency_key,
        }
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(log, json.dumps(line).encode() + b"\n")  # one call: lines of two processes never mix
        finally:
            os.close(log)
