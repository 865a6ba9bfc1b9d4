"""A program that starts instances over HTTP as fast as the API takes them: a raw client, so that it costs little.

    python -m tests.faults.many_starts URL NAME COUNT CONNECTIONS

It prints how many starts were acknowledged and how many seconds that took, as JSON. URL is that of the API.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from urllib.parse import urlsplit


async def main(url: str, name: str, count: int, connections: int) -> None:
    """Start them all, each connection the next one as soon as it has its answer."""
    to_do = iter(range(count))
    began = time.monotonic()
    acknowledged = await asyncio.gather(*(_connection(url, name, to_do) for _ in range(connections)))
    print(json.dumps({"acknowledged": sum(acknowledged), "seconds": time.monotonic() - began}))  # noqa: T201


async def _connection(url: str, name: str, to_do: Iterator[int]) -> int:
    host, port, path = urlsplit(url).hostname, urlsplit(url).port, urlsplit(url).path
    reader, writer = await asyncio.open_connection(host, port)
    acknowledged = 0
    for number in to_do:
        body = json.dumps({"name": name, "input": {"number": number, "user": "alice"}}).encode()
        head = f"POST {path}/start HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-length: {len(body)}\r\n"
        writer.write(f"{head}content-type: application/json\r\n\r\n".encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        lines = answer.lower().split(b"\r\n")
        length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
        answered = await reader.readexactly(length)
        if not lines[0].startswith(b"http/1.1 201"):
            raise RuntimeError((answer + answered).decode())
        acknowledged += 1
    writer.close()
    return acknowledged


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
