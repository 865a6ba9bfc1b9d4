"""Webhooks from outside: verified, stored, and given to the instance that waits for them."""

from pylon_workflows.api.refusals import BadSignatureError
from pylon_workflows.hooks.app import create_hooks_app
from pylon_workflows.hooks.signatures import GitHub, Habits, HmacSignature, Slack, StandardWebhooks, Stripe, Verifier
from pylon_workflows.hooks.sources import HookSource, HookStart
from pylon_workflows.hooks.sources_file import load_sources

__all__ = [
    "BadSignatureError",
    "GitHub",
    "Habits",
    "HmacSignature",
    "HookSource",
    "HookStart",
    "Slack",
    "StandardWebhooks",
    "Stripe",
    "Verifier",
    "create_hooks_app",
    "load_sources",
]
