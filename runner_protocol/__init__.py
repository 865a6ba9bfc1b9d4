"""The step protocol between the engine and its runners: messages, the Python kit, the conformance checker."""

from runner_protocol.kit.context import Context
from runner_protocol.kit.errors import NonRetryableError, OutputError, RetryAfter, StepFailedError
from runner_protocol.kit.runner import Runner
from runner_protocol.kit.step import StepInfo, current_step
from runner_protocol.kit.workflow import Workflow, workflow

__all__ = [
    "Context",
    "NonRetryableError",
    "OutputError",
    "RetryAfter",
    "Runner",
    "StepFailedError",
    "StepInfo",
    "Workflow",
    "current_step",
    "workflow",
]
