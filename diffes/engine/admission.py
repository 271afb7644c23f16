"""Who may come in: what everything inside will take by forecast, and what has come of late."""

from collections.abc import Callable, Sequence
from math import exp, inf

from diffes.engine.costs import StepCosts
from diffes.engine.job import Job
from diffes.engine.request import Limits
from diffes.engine.scheduling import BatchKey, group_size
from diffes.errors import Overloaded

_LEAST = 0.1  # of a window: what came in less time says little of what will
_MEETING = 0.75  # of n images inside n to this power share a step, by simulation at an H100's costs
_BROKEN = 0.05  # of those who were let in with a deadline may miss it; without a risk too many are turned away
_CORRECTION = 0.05  # of a forecast, by one that was missed
_CAUTION = 4.0  # times what a forecast says, at most


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


Ahead = Sequence[tuple[tuple[BatchKey, ...], int]]  # keys and next step of every image inside


class Forecast:
    """How long images will take, in the company that there is; no time at all until a step's cost is known.

    It learns from what became of those who were let in by it.
    """

    def __init__(self, costs: StepCosts, most: int) -> None:
        self._costs = costs
        self._most = most
        self._caution = 1.0  # times the wait for others

    def seconds(self, ahead: Ahead) -> float:
        """Until every image inside is done."""
        company = self._company(len(ahead))
        return sum(self._share(keys, step, company) for keys, step in ahead)

    def work(self, keys: tuple[BatchKey, ...], images: int) -> float:
        """Of a request's images if each took its steps by itself: what load is counted in."""
        return images * self._share(keys, 0, 1)

    def latency(self, keys: tuple[BatchKey, ...], images: int, ahead: Ahead, load: float) -> float:
        """Until the images of a request that comes now are answered: as likely more as less, once much is inside.

        Where company does not pay, those ahead end what they have left, and then it is its turn. Where it pays, groups
        catch up with each other, and who comes later takes part in the steps of who came before: as much as those ahead
        have taken already is taken meanwhile by those who follow. Of groups of k (`group_size`) one in k begins by
        itself; the others share. What others add is stretched as `learn` found it should be.

        Who finds nobody inside is told the best there has been: after a load that slowed everything down all would be
        refused, and nothing be seen that says otherwise.
        """
        own = self._company(images)
        if not ahead:
            return self._costs.at_best(keys, 0, images, own)
        inside = len(ahead) + images
        size = group_size(keys, 0, self._costs, min(self._most, inside), inside, load)
        sharing = 1 - 1 / size
        company = self._company(max(round(inside**_MEETING), images))

        def spent(keys: tuple[BatchKey, ...], step: int, beside: int) -> float:
            left, whole = self._share(keys, step, beside), self._share(keys, 0, company)
            return (1 - sharing) * left + sharing * whole

        alone = images * self._share(keys, 0, own)
        everyone = sum(spent(keys, step, company) for keys, step in ahead) + images * spent(keys, 0, own)
        return alone + self._caution * max(everyone - alone, 0.0) + self._costs.ending

    def learn(self, *, in_time: bool) -> None:
        """Of one who was let in with a deadline. Nobody is turned away by caution if there is nobody to wait for."""
        correction = -_BROKEN / (1 - _BROKEN) if in_time else 1.0
        self._caution = min(max(self._caution * exp(_CORRECTION * correction), 1.0), _CAUTION)

    def _company(self, images: int) -> int:
        return max(1, min(self._most, images))

    def _share(self, keys: tuple[BatchKey, ...], step: int, company: int) -> float:
        return self._costs.remaining(keys, step, company) if self._costs.known else 0.0


def require_time(job: Job, limits: Limits, backlog: float, latency: Callable[[], float]) -> None:
    """Overloaded if what is inside takes longer than the engine lets wait, or this request longer than its caller."""
    if backlog > limits.backlog:
        raise Overloaded(
            "too much is waiting",
            reason="backlog",
            expected=f"at most {limits.backlog:g} seconds of work before it",
            found=f"{backlog:.3g} seconds",
        )
    timeout = job.request.timeout
    if timeout != inf and (expected := latency()) > timeout:
        raise Overloaded(
            "the request cannot be done in time",
            reason="deadline",
            expected=f"{timeout:g} seconds or less",
            found=f"a forecast of {expected:.3g} seconds",
        )
