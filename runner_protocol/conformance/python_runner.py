"""The Python kit's runner for the conformance checker: `python -m runner_protocol.conformance.python_runner [PORT]`."""

import sys
from collections.abc import Sequence

from runner_protocol import Runner, workflow
from runner_protocol.conformance.workflows import WORKFLOWS


def create_runner() -> Runner:
    """Make a runner that holds every conformance workflow."""
    return Runner([workflow(name)(function) for name, function in WORKFLOWS.items()])


def main(arguments: Sequence[str]) -> int:
    """Serve on the given port, by default one that the system chooses; the line on standard output says which."""
    create_runner().serve(int(arguments[0]) if arguments else 0)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
