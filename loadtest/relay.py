"""A way to another server that can be cut: TCP, byte for byte, as a network would carry it."""

import select
import socket
from contextlib import suppress
from threading import Event, Lock, Thread

_PIECE = 1 << 16
_POLL_SECONDS = 0.2


class Relay:
    """Listens on a free port of this machine and hands on to `host`:`port`. Threads of its own; `close` it."""

    def __init__(self, host: str, port: int) -> None:
        self._there = host, port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._lock = Lock()
        self._whole, self._closed = Event(), Event()
        self._whole.set()
        Thread(target=self._listen, daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._listener.getsockname()[1]
        return port

    def cut(self) -> None:
        """End every connection at once, and every new one as soon as it is made."""
        with self._lock:
            self._whole.clear()
            for one in self._open:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """New connections go through again."""
        self._whole.set()

    def close(self) -> None:
        """For good."""
        self._closed.set()
        self.cut()
        self._listener.close()

    def _listen(self) -> None:
        while not self._closed.is_set():
            if not select.select([self._listener], [], [], _POLL_SECONDS)[0]:
                continue
            try:
                here, _ = self._listener.accept()
            except OSError:  # closed meanwhile
                return
            Thread(target=self._carry, args=(here,), daemon=True).start()

    def _carry(self, here: socket.socket) -> None:
        with here, suppress(OSError), socket.create_connection(self._there) as there:
            with self._lock:
                if not self._whole.is_set():
                    return
                self._open |= {here, there}
            back = Thread(target=_pump, args=(there, here), daemon=True)
            back.start()
            _pump(here, there)
            back.join()
            with self._lock:
                self._open -= {here, there}


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Until one of the two ends; then the other is told."""
    with suppress(OSError):
        while piece := source.recv(_PIECE):
            target.sendall(piece)
    for one in (source, target):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
