"""How senders sign what they send: one module a scheme, each with a verifier and with what its senders usually do."""

from pylon_workflows.hooks.signatures.generic import HmacSignature
from pylon_workflows.hooks.signatures.github import GitHub
from pylon_workflows.hooks.signatures.slack import Slack
from pylon_workflows.hooks.signatures.standard_webhooks import StandardWebhooks
from pylon_workflows.hooks.signatures.stripe import Stripe
from pylon_workflows.hooks.signatures.verifier import Habits, Verifier

__all__ = ["GitHub", "Habits", "HmacSignature", "Slack", "StandardWebhooks", "Stripe", "Verifier"]
