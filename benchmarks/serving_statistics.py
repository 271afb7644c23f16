"""What callers felt: latencies as quantiles and shares done in time, and ours beside the better of both peers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

SERIAL = "one at a time"
WHOLE = "whole requests"
PEERS = (SERIAL, WHOLE)
BETTER = {"p50": min, "p99": min, "good": max}  # of two peers, in each measure
_DRAWS = 2000

Latencies = NDArray[np.float64]
Felt = dict[str, Any]


def felt(latencies: Latencies, alone: float, slacks: Sequence[float]) -> Felt:
    """Seconds, and the share that was done within each slack."""
    p50, p95, p99 = np.quantile(latencies, (0.5, 0.95, 0.99))
    good = {f"{slack:g}": float(np.mean(latencies <= slack * alone)) for slack in slacks}
    return {"alone": alone, "requests": len(latencies), "p50": p50, "p95": p95, "p99": p99, "good": good}


def ratio(ours: float, theirs: float) -> float | None:
    """Ours over theirs; none where theirs is nothing, such as a share done in time of a peer that did none in time."""
    return ours / theirs if theirs else None


def beside(ours: Felt, peers: Sequence[Felt]) -> dict[str, float | None]:
    """Ours over the better peer's, in each measure, if it has any; good means within the first slack."""
    slack = next(iter(ours["good"]))

    def value(measured: Felt, what: str) -> float:
        return float(measured["good"][slack] if what == "good" else measured[what])

    return {what: ratio(value(ours, what), best(value(peer, what) for peer in peers)) for what, best in BETTER.items()}


def spread(
    ours: Sequence[Latencies], peers: Sequence[Sequence[Latencies]], slack: float
) -> dict[str, list[float] | None]:
    """Between which two figures nine in ten of such ratios lie if other stretches, as many, had been drawn of these;
    none in a measure in which a draw has no ratio.

    Every scheduler met the same arrivals in a stretch, so that a stretch is drawn for all at once.
    """
    rng, count = np.random.default_rng(0), len(ours)
    drawn: dict[str, list[float | None]] = {what: [] for what in BETTER}
    for _ in range(_DRAWS):
        chosen = rng.integers(count, size=count)

        def of(stretches: Sequence[Latencies], chosen: NDArray[np.int64] = chosen) -> Felt:
            return felt(np.concatenate([stretches[each] for each in chosen]), 1.0, [slack])

        for what, found in beside(of(ours), [of(stretches) for stretches in peers]).items():
            drawn[what].append(found)
    return {what: _edges(ratios) for what, ratios in drawn.items()}


def _edges(ratios: Sequence[float | None]) -> list[float] | None:
    known = [each for each in ratios if each is not None]
    return [float(edge) for edge in np.quantile(known, (0.05, 0.95))] if len(known) == len(ratios) else None
