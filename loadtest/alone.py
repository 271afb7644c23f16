"""What one request takes that meets no other: the unit of a scenario that shall fit any machine."""

from collections.abc import Iterator, Sequence
from itertools import product
from statistics import median
from time import perf_counter

import httpx

from diffes.errors import LoadTestError
from loadtest.mix import DEFAULT, Asked, Mix
from loadtest.target import Target

_TIMES = 3  # each kind of request, after once for nothing
_SECONDS = 600.0


def measure_alone(target: Target, mix: Mix, texts: Sequence[str] = ()) -> float:
    """Seconds of a request of the mix on average, one after the other; LoadTestError if one is not answered.

    Of each kind of request the median, so that a neighbour's moment does not count.
    """
    with httpx.Client(base_url=target.url, headers=target.headers, timeout=_SECONDS) as http:
        parts = [
            (weight, median([_timed(http, asked) for _ in range(_TIMES + 1)][1:]))
            for weight, asked in _kinds(mix, texts)
        ]
    return sum(weight * seconds for weight, seconds in parts) / sum(weight for weight, _ in parts)


def _kinds(mix: Mix, texts: Sequence[str]) -> Iterator[tuple[float, Asked]]:
    """Every combination of schedule, steps, images and size, and how often it is drawn."""
    for (schedule, one), (steps, two), (images, three), (size, four) in product(
        mix.schedules.items(), mix.steps.items(), mix.images.items(), mix.sizes.items()
    ):
        yield (
            one * two * three * four,
            Asked(
                label=0,
                text=texts[0] if texts else None,
                seed=0,
                images=images,
                steps=None if steps == DEFAULT else int(steps),
                schedule=None if schedule == DEFAULT else schedule,
                size=None if size == DEFAULT else size,
                guidance=mix.guidance,
            ),
        )


def _timed(http: httpx.Client, asked: Asked) -> float:
    began = perf_counter()
    try:
        answer = http.post("/generate", json=asked.body())
    except httpx.TransportError as error:
        raise _unanswered(f"{type(error).__name__}: {error}") from error
    if answer.status_code != 200:
        raise _unanswered(f"{answer.status_code} {answer.text[:200]}")
    return perf_counter() - began


def _unanswered(found: str) -> LoadTestError:
    return LoadTestError("a request alone was not answered", expected="200", found=found)
