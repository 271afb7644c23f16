"""Who may come in: what everything inside will take by forecast, and what has come of late."""

from collections.abc import Iterable
from math import exp, inf

from diffes.engine.costs import StepCosts
from diffes.engine.job import ImageState, Job
from diffes.engine.request import Limits
from diffes.engine.scheduling import BatchKey
from diffes.errors import Overloaded

_LEAST = 0.1  # of a window: what came in less time says little of what will


class OfferedLoad:
    """Seconds of work that have come in a second, of late: above 1, more than one image at a time can be served."""

    def __init__(self, window: float = 30.0) -> None:
        self._window = window  # seconds in which what came long ago fades to a third
        self._work = 0.0
        self._at = 0.0
        self._first: float | None = None  # when the first came

    def add(self, work: float, now: float) -> None:
        """So many seconds of work came."""
        self._work = self._faded(now) + work
        self._at = now
        self._first = now if self._first is None else self._first

    def share(self, now: float) -> float:
        """Seconds of work a second, over the time that there has been: what came in a second is not spread over 30."""
        if self._first is None:
            return 0.0
        seen = max(now - self._first, _LEAST * self._window)
        return self._faded(now) / (self._window * (1 - exp(-seen / self._window)))

    def _faded(self, now: float) -> float:
        return self._work * exp(-max(now - self._at, 0.0) / self._window)


class Forecast:
    """How long images will take, in the company that there is; no time at all until a step's cost is known."""

    def __init__(self, costs: StepCosts, most: int) -> None:
        self._costs = costs
        self._most = most

    def seconds(self, waiting: Iterable[Job], running: Iterable[ImageState]) -> float:
        """Until every image of both is done."""
        ahead = [(job.path.keys, 0) for job in waiting for _ in range(job.request.images)]
        ahead += [(image.keys, image.step) for image in running]
        company = max(1, min(self._most, len(ahead)))
        return sum(self._share(keys, step, company) for keys, step in ahead)

    def own(self, job: Job) -> float:
        """For the images of a request that nobody else is in the way of."""
        images = job.request.images
        return images * self._share(job.path.keys, 0, min(self._most, images))

    def work(self, job: Job) -> float:
        """Of a request's images if each took its steps by itself: what load is counted in."""
        return job.request.images * self._share(job.path.keys, 0, 1)

    def _share(self, keys: tuple[BatchKey, ...], step: int, company: int) -> float:
        return self._costs.remaining(keys, step, company) if self._costs.known else 0.0


def require_time(job: Job, limits: Limits, backlog: float, own: float) -> None:
    """Overloaded if what is inside takes longer than the engine lets wait, or than this request's caller does."""
    if backlog > limits.backlog:
        raise Overloaded(
            "too much is waiting",
            reason="backlog",
            expected=f"at most {limits.backlog:g} seconds of work before it",
            found=f"{backlog:.3g} seconds",
        )
    timeout = job.request.timeout
    if timeout != inf and backlog + own > timeout:
        raise Overloaded(
            "the request cannot be done in time",
            reason="deadline",
            expected=f"{timeout:g} seconds or less",
            found=f"a forecast of {backlog + own:.3g} seconds",
        )
