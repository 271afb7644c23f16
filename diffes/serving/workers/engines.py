"""The engines of all workers as one: each request goes where least is to be done."""

import logging
import time
from concurrent.futures import Future, wait
from functools import partial
from threading import Lock

from diffes.bundle import Bundle
from diffes.engine.engine import Engine
from diffes.engine.request import Limits, Listener, Request, Result, resolve
from diffes.errors import Closed, NotReady
from diffes.serving.workers.host import Host
from diffes.serving.workers.ids import worker_of
from diffes.serving.workers.link import Link
from diffes.serving.workers.loads import Loads
from diffes.serving.workers.place import Place

logger = logging.getLogger(__name__)

_A_STEP = 0.01  # seconds of an image's, until this worker has measured them: to spread what comes meanwhile


class Engines:
    """One worker's view of them: the others' from now on, and its own once it serves."""

    def __init__(self, place: Place, bundle: Bundle, limits: Limits) -> None:
        self._place, self._bundle, self._limits = place, bundle, limits
        self._engine: Engine | None = None
        self._host: Host | None = None
        place.enter()
        self._loads = Loads(place)
        self._links: dict[int, Link] = {}
        self._where: dict[str, int] = {}  # by id, the worker that serves what this one was asked for
        self._inside: set[Future[Result]] = set()  # of what this one was asked for
        self._lock = Lock()
        self._connecting = Lock()  # another, since connecting may take a while

    def serve(self, engine: Engine) -> None:
        """This worker's own, which the others reach too from now on."""
        self._engine = engine
        self._host = Host(self._place.socket(self._place.worker), engine, self._drop, self._loads.forget)
        self._loads.ready(yes=True)

    @property
    def others(self) -> bool:
        """Whether another worker serves."""
        return self._loads.others

    def submit(self, request: Request, listener: Listener | None = None) -> Future[Result]:
        """As Engine.submit, of the engine that has least to do; NotReady if none serves."""
        work = self._work(request)
        while (worker := self._loads.assign(work)) is not None:
            self._where[request.id] = worker
            try:
                future = self._at(worker).submit(request, listener)
            except (OSError, Closed) as error:
                self._forget(worker, work, request.id)
                self._loads.lose(worker)
                logger.warning("worker %d serves no more: %s", worker, error)
            except BaseException:
                self._forget(worker, work, request.id)
                raise
            else:
                with self._lock:
                    self._inside.add(future)
                future.add_done_callback(partial(self._ended, worker, work, request.id))
                return future
        raise NotReady("not ready", expected="a worker that serves", found="none", remedy="Try again later.")

    def cancel(self, request_id: str) -> bool:
        """Drop a request before its next step, whichever worker was asked for it; False if none of that id is inside.

        NotReady if that worker does not answer.
        """
        worker = worker_of(request_id)
        if worker is None or worker == self._place.worker:
            return self._drop(request_id)
        return self._withdraw(worker, request_id)

    def refuse(self) -> None:
        """Take no more here, where others serve; what is inside goes on."""
        self._loads.ready(yes=False)

    def close(self, limit: float) -> None:
        """Answer what is inside, here and elsewhere, for at most `limit` seconds, and fail the rest with Closed."""
        end = time.monotonic() + limit
        self.refuse()
        if self._engine is not None:
            self._engine.close(limit=limit)
        with self._lock:
            inside = set(self._inside)
        wait(inside, max(0.0, end - time.monotonic()))
        if self._host is not None:
            self._host.close()
        for link in self._links.values():
            link.close()
        self._place.leave()

    def _work(self, request: Request) -> float:
        if self._engine is not None:
            return self._engine.work(request)
        resolved = resolve(request, self._bundle, self._limits)
        return _A_STEP * resolved.steps * resolved.images

    def _at(self, worker: int) -> Engine | Link:
        if worker == self._place.worker and self._engine is not None:
            return self._engine
        return self._link(worker)

    def _ended(self, worker: int, work: float, request_id: str, future: Future[Result]) -> None:
        self._forget(worker, work, request_id)
        with self._lock:
            self._inside.discard(future)

    def _forget(self, worker: int, work: float, request_id: str) -> None:
        self._loads.release(worker, work)
        self._where.pop(request_id, None)

    def _drop(self, request_id: str) -> bool:
        """A request that this worker was asked for, or that another has placed here."""
        worker = self._where.get(request_id, self._place.worker)
        if worker == self._place.worker:
            return self._engine is not None and self._engine.cancel(request_id)
        return self._withdraw(worker, request_id)

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
