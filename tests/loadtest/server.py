"""An HTTP server that does what a test tells it, in a thread of its own; no library would let it be so wrong."""

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

_REASON = {200: "OK", 429: "Too Many Requests", 500: "Internal Server Error", 503: "Service Unavailable"}
_START_SECONDS = 10.0


@dataclass
class Exchange:
    """One request, and the connection that it came by."""

    path: str
    headers: dict[str, str]  # names in lower case
    body: dict[str, Any]
    transport: asyncio.Transport

    def head(self, status: int, **headers: object) -> None:
        """Status line and headers; underscores in names are hyphens."""
        lines = [f"HTTP/1.1 {status} {_REASON.get(status, 'Told')}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.write("\r\n".join([*lines, "", ""]).encode())

    def answer(self, body: bytes, status: int = 200, **headers: object) -> None:
        """A whole answer."""
        self.head(status, Content_Length=len(body), **headers)
        self.write(body)

    def stream(self, *pieces: bytes, whole: bool = True) -> None:
        """A streamed answer; one that is not whole has no end."""
        self.head(200, Transfer_Encoding="chunked", Content_Type="text/event-stream")
        for piece in (*pieces, b"") if whole else pieces:
            self.chunk(piece)

    def chunk(self, piece: bytes) -> None:
        """One more piece of a streamed answer; an empty one ends it."""
        self.write(b"%x\r\n%b\r\n" % (len(piece), piece))

    def write(self, data: bytes) -> None:
        """Bytes as they are."""
        self.transport.write(data)

    def close(self) -> None:
        """End the connection once all is sent."""
        self.transport.close()


Script = Callable[[Exchange], Coroutine[Any, Any, None]]


@dataclass
class Server:
    """What a running server has seen."""

    script: Script
    port: int = 0
    seen: list[Exchange] = field(default_factory=list)
    connections: list[asyncio.Transport] = field(default_factory=list)
    inside: int = 0
    most: int = 0  # that were inside at once
    left: int = 0  # whose connection closed before their script had ended

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    async def follow(self, exchange: Exchange) -> None:
        """The script, counted."""
        self.seen.append(exchange)
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await self.script(exchange)
        except asyncio.CancelledError:
            self.left += 1
            raise
        finally:
            self.inside -= 1


class _Connection(asyncio.Protocol):
    def __init__(self, server: Server) -> None:
        self._server = server
        self._received = b""
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.connections.append(transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, blank, body = self._received.partition(b"\r\n\r\n")
        start, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        if blank and len(body) == int(headers.get("content-length", 0)):
            self._received = b""
            exchange = Exchange(start.split()[1], headers, json.loads(body or b"{}"), self._transport)
            self._task = asyncio.get_running_loop().create_task(self._server.follow(exchange))

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        if self._task is not None:
            self._task.cancel()


@contextmanager
def serving(script: Script) -> Iterator[Server]:
    """A server that follows the script for every request, until the block ends."""
    server, told = Server(script), SimpleQueue[Callable[[], object]]()
    thread = threading.Thread(target=lambda: asyncio.run(_serve(server, told)), daemon=True)
    thread.start()
    stop = told.get(timeout=_START_SECONDS)
    try:
        yield server
    finally:
        stop()
        thread.join()


async def _serve(server: Server, told: SimpleQueue[Callable[[], object]]) -> None:
    """Until what it tells is called."""
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    listening = await loop.create_server(lambda: _Connection(server), "127.0.0.1", 0, backlog=1000)
    server.port = listening.sockets[0].getsockname()[1]
    told.put(lambda: loop.call_soon_threadsafe(stopped.set))
    await stopped.wait()
    listening.close()
    for connection in server.connections:
        connection.abort()
