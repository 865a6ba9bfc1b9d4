"""A runner made with the Python kit: one workflow of a hundred steps. Prints its URL, ends with its standard input."""

import socket
import sys
import threading

import uvicorn

from benchmarks.surroundings import WORKFLOW
from runner_protocol import Context, Runner, workflow

STEPS = 100


async def charge() -> dict[str, object]:
    """What a step costs that does nothing."""
    return {"id": "ch_1", "amount": 4200}


@workflow(WORKFLOW)
async def order(ctx: Context, _: object) -> dict[str, bool]:
    """A hundred steps, one after the other."""
    for _number in range(STEPS):
        await ctx.step("charge", charge)
    return {"done": True}


def main() -> None:
    """Serve until the standard input ends."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    server = uvicorn.Server(uvicorn.Config(Runner([order]).app, lifespan="off", log_level="warning"))

    def end_with_the_parent() -> None:
        sys.stdin.read()
        server.should_exit = True

    threading.Thread(target=end_with_the_parent, daemon=True).start()
    sys.stdout.write(f"http://127.0.0.1:{listener.getsockname()[1]}/run\n")
    sys.stdout.flush()
    server.run([listener])


if __name__ == "__main__":
    main()
