"""The step protocol between the engine and its runners: messages, the Python kit, the conformance checker."""

from runner_protocol.kit.approval import Approval
from runner_protocol.kit.context import Context
from runner_protocol.kit.errors import NonRetryableError, OutputError, RetryAfter, StepFailedError, TimedOutError
from runner_protocol.kit.http import HttpError, HttpResult
from runner_protocol.kit.operation import Operation
from runner_protocol.kit.options import StepOptions
from runner_protocol.kit.runner import Runner
from runner_protocol.kit.shell import CommandError, ShellResult
from runner_protocol.kit.step import StepInfo, current_step
from runner_protocol.kit.workflow import Workflow, workflow

__all__ = [
    "Approval",
    "CommandError",
    "Context",
    "HttpError",
    "HttpResult",
    "NonRetryableError",
    "Operation",
    "OutputError",
    "RetryAfter",
    "Runner",
    "ShellResult",
    "StepFailedError",
    "StepInfo",
    "StepOptions",
    "TimedOutError",
    "Workflow",
    "current_step",
    "workflow",
]
