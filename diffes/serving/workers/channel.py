"""Messages between two processes over a socket, in order. Who sends never waits."""

import logging
import pickle
import socket
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from queue import SimpleQueue
from threading import Thread
from typing import Any, Generic, TypeVar

import torch

Sent = TypeVar("Sent")
Received = TypeVar("Received")

_LAST_SECONDS = 5.0  # for what is still to be sent when a channel is closed

logger = logging.getLogger(__name__)


class Channel(Generic[Sent, Received]):
    """One end. Messages are pickled: the other end must be this user's own, of the same version."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._reads = connection.makefile("rb")
        self._waiting: SimpleQueue[Sent | None] = SimpleQueue()
        self._writer = Thread(target=self._write, name="diffes-channel", daemon=True)
        self._writer.start()

    def send(self, message: Sent) -> None:
        """To be sent by another thread; lost if the other end is gone, as `received` tells."""
        self._waiting.put(message)

    def received(self) -> Iterator[Received]:
        """What comes, until either end closes."""
        try:
            with suppress(EOFError, OSError, pickle.UnpicklingError):
                while True:
                    yield pickle.load(self._reads)
        finally:
            self.close()
            self._reads.close()
            self._connection.close()

    def close(self) -> None:
        """Send what waits, then end both directions."""
        self._waiting.put(None)
        self._writer.join(_LAST_SECONDS)
        self._shut()

    def _write(self) -> None:
        try:
            while (message := self._waiting.get()) is not None:
                self._connection.sendall(_pickled(message))
        except OSError:  # the other end is gone
            pass
        except Exception:
            logger.exception("a message to another process could not be sent")
        finally:
            self._shut()

    def _shut(self) -> None:
        with suppress(OSError):  # if the other end was faster
            self._connection.shutdown(socket.SHUT_RDWR)


class _Pickler(pickle.Pickler):
    """Tensors on the CPU go as NumPy's arrays: torch's own way writes an archive for each, and all of one's storage
    with a view.
    """

    def reducer_override(self, value: object) -> Any:
        if isinstance(value, torch.Tensor):
            return torch.from_numpy, (value.numpy(),)
        return NotImplemented


def _pickled(message: object) -> memoryview:
    buffer = BytesIO()
    _Pickler(buffer, pickle.HIGHEST_PROTOCOL).dump(message)
    return buffer.getbuffer()
