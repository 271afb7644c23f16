"""The engines of all workers as one: each request goes where least is to be done."""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import partial
from threading import Lock

from diffes.bundle import Bundle
from diffes.engine.request import Limits, Listener, Request, Result, resolve
from diffes.errors import Closed, Lost, NotReady
from diffes.serving.workers.link import Link
from diffes.serving.workers.loads import Loads
from diffes.serving.workers.place import Place

logger = logging.getLogger(__name__)

_A_STEP = 0.01  # seconds of an image's, until the engine says what a request takes: to spread what comes meanwhile


class Engines:
    """One worker's view of them."""

    def __init__(self, place: Place, bundle: Bundle, limits: Limits, lost: Callable[[], object]) -> None:
        """The place is entered already. `lost` hears of every request that was inside when its engine ended."""
        self._place, self._bundle, self._limits, self._lost = place, bundle, limits, lost
        self._loads = Loads(place)
        self._links: dict[int, Link] = {}
        self._inside: set[Future[Result]] = set()  # of what this worker was asked for
        self._lock = Lock()
        self._connecting = Lock()  # another, since connecting may take a while

    @property
    def ready(self) -> set[int]:
        """The workers whose engines serve."""
        return self._loads.ready

    def submit(self, request: Request, listener: Listener | None = None) -> Future[Result]:
        """As Engine.submit, of the engine that has least to do; NotReady if none serves."""
        guess = self._work(request)
        while (worker := self._loads.assign(guess)) is not None:
            try:
                future, work = self._link(worker).submit(request, listener)
            except (OSError, Closed) as error:
                self._loads.release(worker, guess)
                self._loads.lose(worker)
                logger.warning("engine %d serves no more: %s", worker, error)
            except BaseException:
                self._loads.release(worker, guess)
                raise
            else:
                self._loads.correct(worker, work - guess)
                with self._lock:
                    self._inside.add(future)
                future.add_done_callback(partial(self._ended, worker, work))
                return future
        raise NotReady("not ready", expected="an engine that serves", found="none", remedy="Try again later.")

    def cancel(self, request_id: str) -> bool:
        """Drop a request before its next step, wherever it is; False if none of that id is inside.

        NotReady if an engine does not answer.
        """
        return any(self._withdraw(worker, request_id) for worker in sorted(self.ready))

    def close(self, limit: float) -> None:
        """Wait for what is inside for at most `limit` seconds; the rest ends in Closed."""
        end = time.monotonic() + limit
        with self._lock:
            inside = set(self._inside)
        wait(inside, max(0.0, end - time.monotonic()))
        for link in self._links.values():
            link.close()

    def _work(self, request: Request) -> float:
        resolved = resolve(request, self._bundle, self._limits)
        return _A_STEP * resolved.steps * resolved.images

    def _ended(self, worker: int, work: float, future: Future[Result]) -> None:
        self._loads.release(worker, work)
        with self._lock:
            self._inside.discard(future)
        if not future.cancelled() and isinstance(future.exception(), Lost):
            self._lost()

    def _withdraw(self, worker: int, request_id: str) -> bool:
        try:
            return self._link(worker).withdraw(request_id)
        except OSError:  # it is gone, and its requests with it
            return False

    def _link(self, worker: int) -> Link:
        with self._connecting:
            link = self._links.get(worker)
            if link is None or link.broken:
                link = self._links[worker] = Link(self._place.socket(worker), self._place.worker, worker)
            return link
