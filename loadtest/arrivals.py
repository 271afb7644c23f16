"""When requests come. An open loop's come at their times, whatever became of those before; a closed loop's do not.

Rates are requests per unit of time and times are in units, the scenario's (`scenario.py`); `scaled` makes them seconds.
Random arrivals are Poisson processes, those of changing rate thinned from one of the highest (Lewis and Shedler, 1979).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from itertools import count, takewhile
from random import Random
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Times = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Open(BaseModel, ABC):
    """Arrivals of an open loop."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @property
    @abstractmethod
    def mean(self) -> float:
        """Requests per unit of time on average, in the long run."""

    @abstractmethod
    def scaled(self, unit: float) -> Self:
        """The same in seconds, of which the unit has so many."""

    @abstractmethod
    def times(self, seconds: float, rng: Random) -> Iterator[float]:
        """Seconds since the start at which requests come, rising, below `seconds`."""

    def paced(self, mean: float) -> Self:
        """The same arrivals, faster or slower: so many per unit of time on average."""
        return self.scaled(self.mean / mean)


class Constant(Open):
    """One after the other, at equal distances."""

    kind: Literal["constant"] = "constant"
    rate: Rate

    @property
    def mean(self) -> float:
        """The rate."""
        return self.rate

    def scaled(self, unit: float) -> Self:
        """Per second."""
        return self.model_copy(update={"rate": self.rate / unit})

    def times(self, seconds: float, rng: Random) -> Iterator[float]:  # noqa: ARG002
        """The first at once."""
        return takewhile(lambda at: at < seconds, (index / self.rate for index in count()))


class Poisson(Open):
    """Callers that know nothing of each other.

    `counted`: as many as the rate says, at times of which each is equally likely: a Poisson process whose count is
    given. Short runs of one rate are then as full as long ones.
    """

    kind: Literal["poisson"] = "poisson"
    rate: Rate
    counted: bool = False

    @property
    def mean(self) -> float:
        """The rate."""
        return self.rate

    def scaled(self, unit: float) -> Self:
        """Per second."""
        return self.model_copy(update={"rate": self.rate / unit})

    def times(self, seconds: float, rng: Random) -> Iterator[float]:
        """Distances are exponential."""
        if self.counted:
            return iter(sorted(rng.uniform(0, seconds) for _ in range(round(self.rate * seconds))))
        return _thinned(lambda _: self.rate, self.rate, seconds, rng)


class Burst(Open):
    """A Poisson process of rate `peak` for `lasting` at the end of `every` so much time, of `rate` before it."""

    kind: Literal["burst"] = "burst"
    rate: Rate
    peak: Rate
    every: Times
    lasting: Times

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.lasting >= self.every or self.peak <= self.rate:
            raise ValueError("a burst that is shorter than `every`, and a `peak` above `rate`")
        return self

    @property
    def mean(self) -> float:
        """Over one `every`."""
        return self.rate + (self.peak - self.rate) * self.lasting / self.every

    def scaled(self, unit: float) -> Self:
        """Per second, and seconds."""
        slower = {name: getattr(self, name) / unit for name in ("rate", "peak")}
        longer = {name: getattr(self, name) * unit for name in ("every", "lasting")}
        return self.model_copy(update=slower | longer)

    def times(self, seconds: float, rng: Random) -> Iterator[float]:
        """Thinned where there is no burst."""
        calm = self.every - self.lasting
        return _thinned(lambda at: self.peak if at % self.every >= calm else self.rate, self.peak, seconds, rng)


class Ramp(Open):
    """A Poisson process whose rate goes from `rate` to `to` in a straight line, over the whole test."""

    kind: Literal["ramp"] = "ramp"
    rate: Rate
    to: Rate

    @property
    def mean(self) -> float:
        """Half way."""
        return (self.rate + self.to) / 2

    def scaled(self, unit: float) -> Self:
        """Per second."""
        return self.model_copy(update={"rate": self.rate / unit, "to": self.to / unit})

    def times(self, seconds: float, rng: Random) -> Iterator[float]:
        """Thinned from the higher end."""
        return _thinned(
            lambda at: self.rate + (self.to - self.rate) * at / seconds, max(self.rate, self.to), seconds, rng
        )


class Trace(Open):
    """Times that were recorded, in units since the first: replayed as they were, and again from the start."""

    kind: Literal["trace"] = "trace"
    at: Annotated[tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...], Field(min_length=2)]

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if any(later < earlier for earlier, later in zip(self.at, self.at[1:], strict=False)) or not self._period:
            raise ValueError("times that rise")
        return self

    @property
    def _period(self) -> float:
        """From the first until the first comes again: as long after the last as others on average."""
        return (self.at[-1] - self.at[0]) * len(self.at) / (len(self.at) - 1)

    @property
    def mean(self) -> float:
        """Over the recorded time."""
        return len(self.at) / self._period

    def scaled(self, unit: float) -> Self:
        """In seconds."""
        return self.model_copy(update={"at": tuple(at * unit for at in self.at)})

    def times(self, seconds: float, rng: Random) -> Iterator[float]:  # noqa: ARG002
        """Nothing is drawn."""
        again = (at - self.at[0] + turn * self._period for turn in count() for at in self.at)
        return takewhile(lambda at: at < seconds, again)


class Closed(BaseModel):
    """A closed loop, which hides queues: each of `users` asks, waits for the answer, pauses, and asks again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["closed"] = "closed"
    users: Annotated[int, Field(ge=1)]
    pause: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0

    def scaled(self, unit: float) -> Self:
        """The pause in seconds."""
        return self.model_copy(update={"pause": self.pause * unit})


Arrivals = Annotated[Constant | Poisson | Burst | Ramp | Trace | Closed, Field(discriminator="kind")]


def _thinned(rate: Callable[[float], float], top: float, seconds: float, rng: Random) -> Iterator[float]:
    at = rng.expovariate(top)
    while at < seconds:
        if rng.random() * top < rate(at):
            yield at
        at += rng.expovariate(top)
