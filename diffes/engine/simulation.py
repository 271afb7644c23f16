"""What a load would feel under a policy, by the costs of its steps: the engine's choices on a clock that costs nothing.

For choosing a policy and a machine before there is one, and for tests of what must hold whatever comes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import inf

from diffes.engine.admission import Forecast
from diffes.engine.costs import StepCosts
from diffes.engine.scheduling import BatchKey, Scheduler, Situation


@dataclass(eq=False, slots=True)
class Arrival:
    """One image: when it comes, the keys of its steps, and how far it is. Those of one request share `request`."""

    at: float
    keys: tuple[BatchKey, ...]
    due: float = inf
    alone: bool = False
    request: object = field(default_factory=object)
    step: int = 0
    passed_over: int = 0
    done_at: float = field(default=inf)

    @property
    def key(self) -> BatchKey:
        """What its next step needs."""
        return self.keys[self.step]

    @property
    def latency(self) -> float:
        """Seconds from its coming to its last step's end."""
        return self.done_at - self.at


def simulate(
    arrivals: Iterable[Arrival],
    scheduler: Scheduler,
    costs: StepCosts,
    load: float = 0.0,
    forecast: Forecast | None = None,
) -> list[list[Arrival]]:
    """Serve all arrivals, in order of their times → every step's batch; arrivals know their end.

    `load` is what the scheduler is told of how much comes. With a `forecast` who would not be done when it is due is
    refused, and who cannot be any more is dropped: both never end.
    """
    coming = sorted(arrivals, key=lambda arrival: arrival.at)[::-1]
    running: list[Arrival] = []
    batches: list[list[Arrival]] = []
    now = 0.0
    while coming or running:
        if not running:
            now = max(now, coming[-1].at)
        while coming and coming[-1].at <= now:
            arrival = coming.pop()
            if forecast is None or _in_time(arrival, running, forecast, load):
                running.append(arrival)
        if forecast is not None:
            running = _without_hopeless(running, now, costs, forecast)
        if not running:
            continue
        batch = scheduler.choose(running, Situation(now, 0, load))
        batches.append(batch)
        now += costs.seconds(batch[0].key.kind, batch[0].key.rows(len(batch)))
        _advance(running, batch, now)
        if forecast is not None:
            _learn(forecast, running)
        running = [arrival for arrival in running if arrival.done_at == inf]
    return batches


def _in_time(arrival: Arrival, running: Sequence[Arrival], forecast: Forecast, load: float) -> bool:
    ahead = [(each.keys, each.step) for each in running]
    return arrival.at + forecast.latency(arrival.keys, 1, ahead, load) <= arrival.due


def _without_hopeless(running: list[Arrival], now: float, costs: StepCosts, forecast: Forecast) -> list[Arrival]:
    kept = [each for each in running if now + costs.remaining(each.keys, each.step) <= each.due]
    for _ in range(len(running) - len(kept)):
        forecast.learn(in_time=False)
    return kept


def _learn(forecast: Forecast, running: Iterable[Arrival]) -> None:
    for arrival in running:
        if arrival.done_at < inf and arrival.due < inf:
            forecast.learn(in_time=arrival.done_at <= arrival.due)


def _advance(running: Sequence[Arrival], batch: Sequence[Arrival], now: float) -> None:
    taken = set(map(id, batch))
    for arrival in running:
        arrival.passed_over = 0 if id(arrival) in taken else arrival.passed_over + 1
    for arrival in batch:
        arrival.step += 1
        if arrival.step == len(arrival.keys):
            arrival.done_at = now
