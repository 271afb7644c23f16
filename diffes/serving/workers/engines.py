"""The engines of all workers as one: each request goes where least is to be done."""

import logging
import time
from concurrent.futures import Future, wait
from functools import partial
from threading import Lock

from diffes.engine.engine import Engine
from diffes.engine.request import Listener, Request, Result
from diffes.errors import Closed
from diffes.serving.workers.host import Host
from diffes.serving.workers.ids import worker_of
from diffes.serving.workers.link import Link
from diffes.serving.workers.loads import Loads
from diffes.serving.workers.place import Place

logger = logging.getLogger(__name__)


class Engines:
    """One worker's view of them: its own engine, which the others reach from now on, and theirs."""

    def __init__(self, engine: Engine, place: Place) -> None:
        self._engine, self._place = engine, place
        place.enter()
        self._loads = Loads(place)
        self._links: dict[int, Link] = {}
        self._where: dict[str, int] = {}  # by id, the worker that serves what this one was asked for
        self._elsewhere: set[Future[Result]] = set()
        self._lock = Lock()
        self._host = Host(place.socket(place.worker), engine, self._drop, self._loads.forget)
        self._loads.tell(place.worker, ready=True)

    def submit(self, request: Request, listener: Listener | None = None) -> Future[Result]:
        """As Engine.submit, of the engine that has least to do."""
        work, gone = self._engine.work(request), set[int]()
        while True:
            worker = self._loads.assign(work, gone)
            self._where[request.id] = worker
            try:
                future = self._submit(worker, request, listener)
            except (OSError, Closed) as error:
                self._forget(worker, work, request.id)
                if worker == self._place.worker:
                    raise
                gone.add(worker)
                self._loads.tell(worker, ready=False)  # until it says otherwise
                logger.warning("worker %d serves no more: %s", worker, error)
            except BaseException:
                self._forget(worker, work, request.id)
                raise
            else:
                future.add_done_callback(partial(self._ended, worker, work, request.id))
                return future

    def cancel(self, request_id: str) -> bool:
        """Drop a request before its next step, whichever worker was asked for it; False if none of that id is inside.

        NotReady if that worker does not answer.
        """
        worker = worker_of(request_id)
        if worker is None or worker == self._place.worker:
            return self._drop(request_id)
        return self._withdraw(worker, request_id)

    def backlog_seconds(self) -> float:
        """Forecast of the time that all steps in this worker's engine will take: the others' have as much to do."""
        return self._engine.backlog_seconds()

    def refuse(self) -> None:
        """Take no more from other workers; what is inside goes on."""
        self._loads.tell(self._place.worker, ready=False)

    def close(self, limit: float) -> None:
        """Answer what is inside, here and elsewhere, for at most `limit` seconds, and fail the rest with Closed."""
        end = time.monotonic() + limit
        self.refuse()
        self._engine.close(limit=limit)
        with self._lock:
            elsewhere = set(self._elsewhere)
        wait(elsewhere, max(0.0, end - time.monotonic()))
        self._host.close()
        for link in self._links.values():
            link.close()
        self._place.leave()

    def _submit(self, worker: int, request: Request, listener: Listener | None) -> Future[Result]:
        if worker == self._place.worker:
            future = self._engine.submit(request, listener)
        else:
            future = self._link(worker).submit(request, listener)
            with self._lock:
                self._elsewhere.add(future)
        return future

    def _ended(self, worker: int, work: float, request_id: str, future: Future[Result]) -> None:
        self._forget(worker, work, request_id)
        with self._lock:
            self._elsewhere.discard(future)

    def _forget(self, worker: int, work: float, request_id: str) -> None:
        self._loads.release(worker, work)
        self._where.pop(request_id, None)

    def _drop(self, request_id: str) -> bool:
        """A request that this worker was asked for, or that another has placed here."""
        worker = self._where.get(request_id, self._place.worker)
        if worker == self._place.worker:
            return self._engine.cancel(request_id)
        return self._withdraw(worker, request_id)

    def _withdraw(self, worker: int, request_id: str) -> bool:
        try:
            return self._link(worker).withdraw(request_id)
        except OSError:  # it is gone, and its requests with it
            return False

    def _link(self, worker: int) -> Link:
        with self._lock:
            link = self._links.get(worker)
            if link is None or link.broken:
                link = self._links[worker] = Link(self._place.socket(worker), self._place.worker, worker)
            return link
