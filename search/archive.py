"""The archive of a Pareto front: of all genomes ever judged, those that no other one dominates.

A genome dominates another if it saves no less at no more error, and one of the two is better. The archive is a view of
what was judged and no state of its own: it is the same whatever the order, and after a resume.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf, isfinite

import numpy as np

from search.genome import Genome


@dataclass(frozen=True, order=True)
class Point:
    """What a genome saves, of the budget's unit and as far as it counts, and its error."""

    saved: int
    error: float
    genome: Genome


def archive_of(judged: Iterable[tuple[Genome, float | None]], saved: Callable[[Genome], int]) -> list[Point]:
    """The points no other dominates, least saving to largest, so error rises too; failures (None, inf) are none.

    Of genomes equal in both the first stays, in the order of genomes.
    """
    points = [Point(saved(genome), error, genome) for genome, error in judged if error is not None and isfinite(error)]
    found: list[Point] = []
    least = inf
    for point in sorted(points, key=lambda p: (-p.saved, p.error, p.genome)):
        if point.error < least:
            found.append(point)
            least = point.error
    return found[::-1]


def cheapest(front: Sequence[Point], wanted: float) -> Point | None:
    """The point of least error that saves at least so much: the first that does; None if none does."""
    index = bisect_left(front, wanted, key=lambda point: point.saved)
    return front[index] if index < len(front) else None


def typical_error(front: Sequence[Point], savings: Sequence[float]) -> float | None:
    """Geometric mean of the least errors at these savings: one number for a whole front, lower is better.

    None if the front does not reach all of them, or holds errors that are not positive (scores).
    """
    found = [cheapest(front, wanted) for wanted in savings]
    errors = [point.error for point in found if point is not None]
    if len(errors) < len(found) or not errors or min(errors) <= 0:
        return None
    return float(np.exp(np.mean(np.log(errors))))
