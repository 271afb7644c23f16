"""How long calls take on a machine that others use too: interleaved rounds, medians, and each round's own pace."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray

Run = Callable[[], object]
Clock = Callable[[Run, int], float]  # seconds a call takes on average over so many, one after another

_SHORTEST = 2e-3  # seconds: what takes less is repeated until it takes this long, or the clock would be what is seen
_SHORTEST_QUEUED = 20e-3  # and on a GPU, or the first launch would be, which a queue of steps hides
_ROUNDS = (5, 200)  # fewest and most
_REST = 0.03  # seconds: threads of torch's spin on for some milliseconds, and would slow what another library runs next


@dataclass(frozen=True)
class Measured:
    """Seconds of each call [calls], and how far apart the middle half of its rounds lies, as a share of them.

    `times` [rounds, calls] are the seconds all this is of, each round at the usual pace.
    """

    seconds: NDArray[np.float64]
    spread: NDArray[np.float64]
    times: NDArray[np.float64]

    @property
    def rounds(self) -> int:
        """How often every call was timed."""
        return len(self.times)


def clock_for(device: str) -> Clock:
    """CUDA events for work that torch queues on a GPU, the machine's clock for everything else."""
    return _cuda_clock if device.startswith("cuda") else wall_clock


def wall_clock(run: Run, repeats: int) -> float:
    """Seconds by the machine's clock; right for calls that return when their work is done."""
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - start) / repeats


def _cuda_clock(run: Run, repeats: int) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()  # what an earlier call queued is not this one's
    start.record()
    for _ in range(repeats):
        run()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1e3 / repeats


def measure(
    runs: Sequence[Run],
    clock: Clock,
    *,
    seconds: float,
    progress: Callable[[float], None] = lambda _: None,
    seed: int = 0,
) -> Measured:
    """Time every call in rounds for about `seconds` altogether, after two unmeasured calls of each.

    A round times every call once, in an order of its own: neither drift nor what ran before favours one of them. On a
    CPU each finds idle processors.
    """
    for run in runs:
        clock(run, 1)
    once = [clock(run, 1) for run in runs]
    shortest = _SHORTEST_QUEUED if clock is _cuda_clock else _SHORTEST
    repeats = [max(1, ceil(shortest / max(spent, 1e-9))) for spent in once]
    round_seconds = sum(spent * count for spent, count in zip(once, repeats, strict=True))
    rounds = int(np.clip(seconds / max(round_seconds, 1e-9), *_ROUNDS))
    random = np.random.default_rng(seed)
    times = np.empty((rounds, len(runs)))
    for number in range(rounds):
        for call in random.permutation(len(runs)):
            if clock is wall_clock:
                time.sleep(_REST)
            times[number, call] = clock(runs[call], repeats[call])
        progress((number + 1) / rounds)
    return paced(times)


def paced(times: NDArray[np.float64]) -> Measured:
    """Medians over rounds of seconds [rounds, calls], after each round's own pace is divided out.

    A neighbour or a falling clock slows a whole round alike: its pace is the median over calls of how much slower
    than usual they were, and the usual round's pace is 1.
    """
    usual = np.median(times, axis=0)
    pace = np.median(times / usual, axis=1)
    even = times / (pace / np.median(pace))[:, None]
    low, middle, high = np.quantile(even, (0.25, 0.5, 0.75), axis=0)
    return Measured(middle, (high - low) / middle, even)
