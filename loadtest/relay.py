"""A way to another server that can be cut: TCP, byte for byte, as a network would carry it."""

import socket
from contextlib import suppress
from threading import Event, Lock, Thread

_PIECE = 1 << 16
_POLL_SECONDS = 0.2
_CONNECT_SECONDS = 10.0


class Relay:
    """Listens on a free port of this machine and hands on to `host`:`port`. Threads of its own; `close` it."""

    def __init__(self, host: str, port: int) -> None:
        self._there = host, port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(_POLL_SECONDS)
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._lock = Lock()
        self._whole, self._closed = Event(), Event()
        self._whole.set()
        self._listening = Thread(target=self._listen, daemon=True)
        self._listening.start()

    def cut(self) -> None:
        """End every connection at once, and every new one as soon as it is made."""
        with self._lock:
            self._whole.clear()
            for one in self._open:
                _end(one)

    def mend(self) -> None:
        """New connections go through again."""
        self._whole.set()

    def close(self) -> None:
        """For good: its threads have ended by then."""
        self._closed.set()
        self.cut()
        self._listening.join()

    def _listen(self) -> None:
        carrying: list[Thread] = []
        with self._listener:
            while not self._closed.is_set():
                with suppress(TimeoutError):  # nobody came
                    here, _ = self._listener.accept()
                    carrying = [each for each in carrying if each.is_alive()]
                    carrying.append(Thread(target=self._carry, args=(here,), daemon=True))
                    carrying[-1].start()
        for each in carrying:
            each.join()

    def _carry(self, here: socket.socket) -> None:
        with here, suppress(OSError):
            if not self._whole.is_set():
                return
            with socket.create_connection(self._there, _CONNECT_SECONDS) as there:
                there.settimeout(None)
                self._both_ways(here, there)

    def _both_ways(self, here: socket.socket, there: socket.socket) -> None:
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
    """Until the source has no more to say, of which the target is told; what one side has lost, both have."""
    try:
        while piece := source.recv(_PIECE):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        _end(source)
        _end(target)


def _end(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
