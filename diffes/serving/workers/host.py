"""An engine for workers, which are other processes: they submit and cancel as if it were theirs."""

import socketserver
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from threading import Lock, Thread

from diffes.engine.engine import Engine
from diffes.engine.request import Preview, Progress, Result
from diffes.errors import DiffesError, EngineError
from diffes.serving.workers.channel import Channel
from diffes.serving.workers.messages import (
    Admitted,
    Answering,
    Asking,
    Done,
    Failed,
    Gone,
    Heard,
    Hello,
    Refused,
    Submit,
    TakeBack,
    Withdraw,
    Withdrawn,
)

_POLL_SECONDS = 0.1  # how soon a host that is closed is

Server = Channel[Answering, Asking]


class Host:
    """Listens on a Unix socket. A worker that leaves takes its requests with it."""

    def __init__(self, address: Path, engine: Engine, left: Callable[[int], None]) -> None:
        """`left` hears which worker is gone."""
        self._engine, self._left = engine, left
        self._channels: set[Server] = set()
        self._lock = Lock()
        host = self

        class Connection(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                host._serve(Channel(self.request))

        address.unlink(missing_ok=True)  # of an engine that was killed
        self._listener = _Listener(str(address), Connection)
        Thread(target=self._listener.serve_forever, args=(_POLL_SECONDS,), name="diffes-host", daemon=True).start()

    def close(self) -> None:
        """Take no more; send the answers there are."""
        self._listener.shutdown()
        self._listener.server_close()
        with self._lock:
            channels = list(self._channels)
        for channel in channels:
            channel.close()

    def _serve(self, channel: Server) -> None:
        with self._lock:
            self._channels.add(channel)
        asking = _Asking(channel, self._engine)
        try:
            for message in channel.received():
                asking.hear(message)
        finally:
            asking.end()
            with self._lock:
                self._channels.discard(channel)
            if asking.worker is not None:
                self._left(asking.worker)


class _Listener(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64


class _Asking:
    """One worker's requests here."""

    def __init__(self, channel: Server, engine: Engine) -> None:
        self.worker: int | None = None
        self._channel, self._engine = channel, engine
        self._inside: dict[int, Future[Result]] = {}

    def hear(self, message: Asking) -> None:
        match message:
            case Hello(worker):
                self.worker = worker
            case Submit():
                self._submit(message)
            case TakeBack(number):
                if future := self._inside.pop(number, None):
                    future.cancel()
            case Withdraw(number, request_id):
                self._channel.send(Withdrawn(number, self._engine.cancel(request_id)))

    def end(self) -> None:
        """Nobody waits for any of them."""
        for future in list(self._inside.values()):
            future.cancel()

    def _submit(self, asked: Submit) -> None:
        def tell(event: Progress | Preview) -> None:
            self._channel.send(Heard(asked.number, event))

        try:
            future = self._engine.submit(asked.request, tell if asked.listens else None)
        except Exception as error:  # noqa: BLE001 - whatever it is, who asked has to hear of it
            self._channel.send(Refused(asked.number, _told(error)))
            return
        self._channel.send(Admitted(asked.number, self._engine.work(asked.request)))
        self._inside[asked.number] = future
        future.add_done_callback(partial(self._answer, asked.number))

    def _answer(self, number: int, future: Future[Result]) -> None:
        """On the engine's thread, which another thread spares the sending."""
        self._inside.pop(number, None)
        if future.cancelled():
            self._channel.send(Gone(number))
        elif error := future.exception():
            self._channel.send(Failed(number, _told(error)))
        else:
            self._channel.send(Done(number, future.result()))


def _told(error: BaseException) -> DiffesError:
    """As it is, if it is ours: others may not survive the way."""
    return error if isinstance(error, DiffesError) else EngineError("the engine failed", found=repr(error))
