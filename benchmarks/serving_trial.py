"""One scheduler over one stretch of arrivals, on a backend that others take turns in."""

import random
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf
from typing import Any

import numpy as np
from serving_schedulers import Maker
from serving_statistics import SERIAL

from diffes.backends import Backend
from diffes.bundle import Bundle
from diffes.engine.costs import StepCosts
from diffes.engine.engine import Engine
from diffes.engine.observer import Silent, StepReport
from diffes.engine.path import find_path
from diffes.engine.request import Limits, Request, resolve
from diffes.engine.scheduling import BatchKey
from diffes.errors import Expired, Overloaded


@dataclass
class Steps(Silent):
    """Keeps what the engine tells of its steps."""

    images: list[int] = field(default_factory=list)
    seconds: float = 0.0

    def stepped(self, step: StepReport) -> None:
        """Note it."""
        self.images.append(step.images)
        self.seconds += step.seconds


class Unclosed:
    """A backend that engines take turns in: none of them closes it."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def close(self) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Trial:
    """One scheduler over one stretch of arrivals."""

    bundle: Bundle
    backend: Backend
    costs: StepCosts
    most: int
    request: Callable[[int], Request]

    @property
    def keys(self) -> tuple[BatchKey, ...]:
        """What the steps of a request need."""
        resolved = resolve(self.request(0), self.bundle, Limits())
        return find_path(self.bundle, resolved.schedule, resolved.steps, resolved.guidance != 1).keys

    def run(self, make: Maker, arrivals: Sequence[float], timeout: float | None = None) -> dict[str, Any]:
        """Seconds of every request from when it was to come; images in a step; the share of time spent in steps.

        With a `timeout` from then requests are refused or dropped by it: their seconds are infinite. What was learned
        of costs in other stretches is forgotten.
        """
        steps = Steps()
        costs = StepCosts(self.costs.measured, self.costs.buckets)
        limits = Limits(batch=self.most, running=4 * self.most, queue=len(arrivals), conditions=1 << 30)
        engine = Engine(self.bundle, self.backend, limits, steps, costs=costs, scheduler=make(costs))
        engine.start()
        began = time.perf_counter()
        ended = dict.fromkeys(range(len(arrivals)), inf)
        refused = 0

        def note(number: int, future: Future[Any]) -> None:
            if future.exception() is None:
                ended[number] = time.perf_counter() - began

        futures = []
        for number, at in enumerate(arrivals):
            time.sleep(max(0.0, began + at - time.perf_counter()))
            left = None if timeout is None else max(began + at + timeout - time.perf_counter(), 1e-9)
            try:
                future = engine.submit(replace(self.request(number), timeout=left))
            except Overloaded:
                refused += 1
                continue
            future.add_done_callback(partial(note, number))
            futures.append(future)
        dropped = 0
        for future in futures:
            try:
                future.result()
            except Expired:
                dropped += 1
        engine.close()
        took = time.perf_counter() - began
        return {
            "latencies": [ended[number] - at for number, at in enumerate(arrivals)],
            "images_a_step": float(np.mean(steps.images)) if steps.images else 0.0,
            "busy": steps.seconds / took,
            "rate": (len(futures) - dropped) / took,
            "refused": refused,
            "dropped": dropped,
        }


@dataclass(frozen=True)
class Asked:
    """What is to be measured: loads in times of what one at a time can serve, slacks in times of one image alone."""

    loads: Sequence[float]
    slacks: Sequence[float]
    serial_up_to: float
    deadline_loads: Sequence[float]  # at which callers wait a slack and no longer
    seconds: float  # of a stretch
    stretches: int

    def schedulers_at(self, load: float, names: Iterable[str]) -> list[str]:
        """One at a time meets no load that it could never serve."""
        return [name for name in names if name != SERIAL or load <= self.serial_up_to]


def poisson(rate: float, seconds: float, seed: int) -> list[float]:
    """Times of arrivals."""
    rng, times, now = random.Random(seed), list[float](), 0.0
    while (now := now + rng.expovariate(rate)) < seconds:
        times.append(now)
    return times
