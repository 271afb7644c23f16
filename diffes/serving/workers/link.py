"""A worker's engine, which is a process of its own, as if it were here."""

import socket
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from threading import Lock, Thread
from typing import TypeVar

from diffes.engine.request import Listener, Request, Result
from diffes.errors import DiffesError, Lost, NotReady
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
    Outcome,
    Refused,
    Submit,
    TakeBack,
    Withdraw,
    Withdrawn,
)

Waits = TypeVar("Waits")
Answer = TypeVar("Answer")

_SECONDS = 10.0  # for an engine to answer what needs no step


@dataclass(eq=False)
class _Pending:
    listener: Listener | None
    future: Future[Result] = field(default_factory=Future)
    admitted: Future[float] = field(default_factory=Future)  # seconds of work

    def hear(self, message: Outcome) -> None:
        match message:
            case Admitted(work=work):
                self.admitted.set_result(work)
            case Refused(error=error):
                self.admitted.set_exception(error)
            case Heard(event=event):
                if self.listener is not None and not self.future.done():
                    self.listener(event)
            case Done(result=result):
                if self.future.set_running_or_notify_cancel():
                    self.future.set_result(result)
            case Failed(error=error):
                self.fail(error)
            case Gone():
                self.future.cancel()

    def fail(self, error: DiffesError) -> None:
        if not self.future.done() and self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)


class Link:
    """A connection to the engine that listens at `address`; OSError if none does."""

    def __init__(self, address: Path, worker: int, to: int) -> None:
        """From `worker`, which the engine will forget if it is gone, to the engine of worker `to`."""
        self._to = to
        self._numbers = count()
        self._pending: dict[int, _Pending] = {}
        self._asked: dict[int, Future[bool]] = {}
        self._lock = Lock()
        self.broken = False
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(str(address))
        except OSError:
            connection.close()
            raise
        self._channel: Channel[Asking, Answering] = Channel(connection)
        self._channel.send(Hello(worker))
        Thread(target=self._read, name="diffes-link", daemon=True).start()

    def submit(self, request: Request, listener: Listener | None = None) -> tuple[Future[Result], float]:
        """As Engine.submit, and the seconds that it takes by itself, by forecast; OSError if the engine is gone before
        it has answered.
        """
        pending = _Pending(listener)
        number = self._remember(self._pending, pending)
        self._channel.send(Submit(number, request, listener is not None))
        try:
            work = self._answered(pending.admitted)
        except BaseException:
            self._channel.send(TakeBack(number))
            self._pending.pop(number, None)
            raise
        pending.future.add_done_callback(partial(self._ended, number))
        return pending.future, work

    def withdraw(self, request_id: str) -> bool:
        """Whether the engine had a request of this id, and has dropped it; OSError if it is gone."""
        answer = Future[bool]()
        number = self._remember(self._asked, answer)
        self._channel.send(Withdraw(number, request_id))
        try:
            return self._answered(answer)
        finally:
            self._asked.pop(number, None)

    def close(self) -> None:
        """Leave; what is not answered ends in Closed."""
        self._channel.close()

    def _remember(self, waiting: dict[int, Waits], who: Waits) -> int:
        """Its number; not once the channel has ended, of which nobody would tell it."""
        with self._lock:
            if self.broken:
                raise ConnectionError(f"engine {self._to} is gone")
            number = next(self._numbers)
            waiting[number] = who
            return number

    def _answered(self, answer: Future[Answer]) -> Answer:
        try:
            return answer.result(_SECONDS)
        except TimeoutError as error:
            found = f"none from engine {self._to} in {_SECONDS:g} seconds"
            raise NotReady("not ready", expected="an answer", found=found, remedy="Try again later.") from error

    def _ended(self, number: int, future: Future[Result]) -> None:
        self._pending.pop(number, None)
        if future.cancelled():
            self._channel.send(TakeBack(number))

    def _read(self) -> None:
        for message in self._channel.received():
            self._hear(message)
        with self._lock:
            self.broken = True
        gone = ConnectionError(f"engine {self._to} is gone")
        for answer in list(self._asked.values()):
            answer.set_exception(gone)
        for pending in list(self._pending.values()):
            if pending.admitted.done():
                pending.fail(Lost(f"engine {self._to} ended before the request was done", remedy="Send it again."))
            else:
                pending.admitted.set_exception(gone)

    def _hear(self, message: Answering) -> None:
        if isinstance(message, Withdrawn):
            if answer := self._asked.get(message.number):
                answer.set_result(message.dropped)
        elif pending := self._pending.get(message.number):  # else its caller has left
            pending.hear(message)
