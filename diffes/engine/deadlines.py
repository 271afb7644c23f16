"""Whether anyone's time is over, without a look at everyone before every step."""

from collections.abc import Iterable
from math import inf
from threading import Lock


class Deadlines:
    """The soonest of many moments. Those of who left are forgotten at the next `renew`."""

    def __init__(self) -> None:
        self._soonest = inf
        self._changing = Lock()

    def add(self, due: float) -> None:
        """From any thread, once its owner can be found by who renews."""
        with self._changing:
            self._soonest = min(self._soonest, due)

    def passed(self, now: float) -> bool:
        """Whether one may have come."""
        return self._soonest <= now

    def renew(self, dues: Iterable[float]) -> None:
        """Only these, and what is added from now on; the iterable is read after that moment."""
        with self._changing:
            self._soonest = inf
        self.add(min(dues, default=inf))
