"""A server that takes webhooks for the instances in a file: the child of `webhooks.py`.

python -m benchmarks.webhook_server DATABASE RUNNER_URL LOOP

It prints its URL and answers until its standard input ends. `/bare` answers a POST when its body has come, at once;
`/cpu` tells the CPU time that the process has used.
"""

import asyncio
import os
import socket
import sys
import time
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from benchmarks.surroundings import new_engine, run_in
from pylon_workflows.hooks import HookSource, StandardWebhooks, create_hooks_app

SECRET = b"the secret of a provider, 32 bytes"


async def bare(request: Request) -> Response:
    """What a POST costs that does nothing."""
    await request.body()
    return Response(b'{"applied":true,"duplicate":false}', media_type="application/json")


async def cpu(_request: Request) -> Response:
    """This process's CPU time so far, in nanoseconds."""
    return Response(str(time.process_time_ns()))


async def serve(database: Path, runner: str) -> None:
    """Answer until the parent goes."""
    engine = new_engine(runner, database)
    sources = [HookSource("psp", StandardWebhooks(SECRET), event="paid", correlation="{order}")]
    app = Starlette(
        lifespan=engine.lifespan,
        routes=[
            Mount("/hooks", create_hooks_app(engine, sources)),
            Route("/bare", bare, methods=["POST"]),
            Route("/cpu", cpu, methods=["POST"]),
        ],
    )
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as `serve` does
        server = uvicorn.Server(
            uvicorn.Config(app, access_log=False, log_level="warning", loop="none", timeout_keep_alive=300)
        )
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        host, port = listener.getsockname()
        print(f"http://{host}:{port}", flush=True)  # who connects waits until the engine is there
        await asyncio.to_thread(os.read, sys.stdin.fileno(), 1)
        server.should_exit = True
        await serving


if __name__ == "__main__":
    run_in(sys.argv[3], serve(Path(sys.argv[1]), sys.argv[2]))
