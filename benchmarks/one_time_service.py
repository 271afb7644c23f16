"""A service that queueing theory knows: whoever came first is served first, one at a time, each for the same time.

    python benchmarks/one_time_service.py --service-ms 10

prints the address's port and serves `POST /generate` until it is ended. No request works: each is answered when a
timetable says, by when it came and when the one before it is done, so that waking late adds to no wait but its own.
"""

import argparse
import asyncio
import json
import sys
from base64 import b64encode
from io import BytesIO
from selectors import SelectSelector
from typing import Any

from PIL import Image

_BACKLOG = 4096


class Timetable:
    """When whoever comes now begins and is done."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._free = 0.0

    def place(self, now: float) -> tuple[float, float]:
        """Begin and end."""
        begin = max(self._free, now)
        self._free = begin + self._seconds
        return begin, self._free


class Connection(asyncio.Protocol):
    """HTTP/1.1 as far as one client of ours speaks it: kept alive, one request after the other."""

    def __init__(self, timetable: Timetable, image: str) -> None:
        self._timetable = timetable
        self._image = image
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where answers go."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """A request that is whole gets its place."""
        self._received += data
        head, blank, body = self._received.partition(b"\r\n\r\n")
        if not blank or len(body) < _length(head):
            return
        self._received = b""
        loop = asyncio.get_running_loop()
        now = loop.time()
        begin, end = self._timetable.place(now)
        answer = _answer(json.loads(body), self._image, begin - now, end - now)
        loop.call_at(end, self._transport.write, answer)


def _length(head: bytes) -> int:
    fields = (line.partition(b":") for line in head.split(b"\r\n"))
    return next(int(value) for name, _, value in fields if name.lower() == b"content-length")


def _answer(asked: dict[str, Any], image: str, queue: float, total: float) -> bytes:
    told = {
        "id": "",
        "seed": asked["seed"],
        "label": asked["label"],
        "schedule": "only",
        "shed_from": None,
        "images": [image],
        "timings": {"queue_seconds": queue, "total_seconds": total, "stages": []},
    }
    body = json.dumps(told).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


async def serve(seconds: float) -> None:
    """On a free port, for ever."""
    buffer = BytesIO()
    Image.new("RGB", (1, 1)).save(buffer, "PNG")
    image, timetable = b64encode(buffer.getvalue()).decode(), Timetable(seconds)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(timetable, image), "127.0.0.1", 0, backlog=_BACKLOG)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--service-ms", type=float, required=True)
    options = parser.parse_args()
    precise = asyncio.SelectorEventLoop(SelectSelector())  # to microseconds; epoll's timeouts are whole milliseconds
    with asyncio.Runner(loop_factory=lambda: precise) as runner:
        runner.run(serve(options.service_ms / 1e3))


if __name__ == "__main__":
    main()
