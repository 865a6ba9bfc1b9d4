"""What authors import from `runner_protocol`; a change of this list is a change of the API."""

import runner_protocol


def test_the_public_names_are_these() -> None:
    assert runner_protocol.__all__ == [
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
    assert all(hasattr(runner_protocol, name) for name in runner_protocol.__all__)
