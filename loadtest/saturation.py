"""The highest rate that keeps to an SLO: upwards in steps while it holds, then between what held and what did not."""

from collections.abc import Callable
from math import inf, sqrt

from pydantic import BaseModel, ConfigDict

from loadtest.scenario import Search


class Sustained(BaseModel):
    """Requests a second: the highest `rate` that held and the lowest `limit` that did not, None where there is none.

    `confirmed`: the rate held when it was tried again.
    """

    model_config = ConfigDict(frozen=True)

    rate: float | None
    limit: float | None
    confirmed: bool


def highest_rate(search: Search, holds: Callable[[float], bool]) -> Sustained:
    """Ask `holds` of one rate after the other, at most `search.most` times.

    Near the limit a run holds by luck now and then. So what is near enough is tried again, and if it does not hold
    then, it is the limit, and the search goes on below it.
    """
    held: list[float] = []
    limit = inf
    for _ in range(search.most):
        low = max(held, default=0.0)
        close = bool(held) and limit / low <= search.until
        rate = low if close else _next(low, limit, search)
        if holds(rate):
            if close:
                return Sustained(rate=rate, limit=limit, confirmed=True)
            held.append(rate)
        else:
            limit = rate
            held = [each for each in held if each < limit]
    return Sustained(rate=max(held, default=None), limit=None if limit == inf else limit, confirmed=False)


def _next(low: float, limit: float, search: Search) -> float:
    if limit == inf:
        return low * search.factor or search.first
    return sqrt(low * limit) if low else limit / search.factor
