"""The Python kit's runner for the conformance checker: `python -m runner_protocol.conformance.python_runner [PORT]`.

With `--no-stream` it does one thing a turn.
"""

import sys
from collections.abc import Sequence

from runner_protocol import Runner, workflow
from runner_protocol.conformance.workflows import VERSIONS, WORKFLOWS


def create_runner(*, stream: bool = True) -> Runner:
    """Make a runner that holds every conformance workflow."""
    held = [workflow(name)(function) for name, function in WORKFLOWS.items()]
    for name, versions in VERSIONS.items():
        held += [workflow(name, version=version)(function) for version, function in versions.items()]
    return Runner(held, stream=stream)


def main(arguments: Sequence[str]) -> int:
    """Serve on the given port, by default one that the system chooses; the line on standard output says which."""
    ports = [int(argument) for argument in arguments if argument != "--no-stream"]
    create_runner(stream="--no-stream" not in arguments).serve(ports[0] if ports else 0)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
