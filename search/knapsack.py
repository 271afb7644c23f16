"""The multiple-choice knapsack: one level per gene, least total error, at least the wanted saving.

Dynamic programming over savings counted in a unit. With the savings' greatest common divisor as unit it is exact.
Costs that share no large divisor (measured latencies) are counted in the least multiple of it that makes at most
`most_units` of the wanted saving: a gene's saving is rounded down and the wanted one up, so with w the wanted saving,
s the genes' and u the unit, sum(s // u) >= -(-w // u) gives sum(s) >= u * sum(s // u) >= w: no answer ever exceeds
the budget. What the rounding left is given back gene by gene, where it mends most.

The additive model of error is SPDY's (Frantar & Alistarh, arXiv 2201.13096).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffes.errors import SearchError
from search.budget import Budget, Levels

_MOST_UNITS = 1 << 14


def solve_knapsack(errors: NDArray[np.float64], budget: Budget, most_units: int = _MOST_UNITS) -> Levels:
    """Levels [genes] of least summed error; errors [genes, levels + 1], inf forbids a level.

    Only useful levels are taken: one that saves no more than a lower one is no bargain. SearchError if the finite
    entries cannot save enough.
    """
    allowed = np.where(budget.useful, errors, np.inf)
    if _reach(allowed, budget) < budget.wanted:
        raise SearchError(
            "no assignment of levels with a finite error saves enough",
            expected=f"{budget.wanted} {budget.unit} saved",
            found=f"at most {_reach(allowed, budget)}",
            remedy="Remove less, or measure more table_levels.",
        )
    if budget.wanted <= 0:
        return np.zeros(len(errors), dtype=np.int64)
    scale = _Scale.of(budget, most_units)
    levels = _solve(allowed, scale)
    if levels is None:  # the rounding hides a budget that only just can be reached
        levels = _most(allowed, budget)
    return levels if scale.exact and budget.feasible(levels) else _mended(levels, allowed, budget)


@dataclass(frozen=True)
class _Scale:
    """Savings and the wanted saving in units."""

    weights: NDArray[np.int64]
    wanted: int
    exact: bool

    @classmethod
    def of(cls, budget: Budget, most_units: int) -> "_Scale":
        positive = np.where(budget.useful, budget.savings, 0)
        divisor = max(int(np.gcd.reduce(positive, axis=None)), 1)
        unit = divisor * max(-(-budget.wanted // (divisor * most_units)), 1)
        return cls(positive // unit, -(-budget.wanted // unit), unit == divisor)


def _solve(errors: NDArray[np.float64], scale: _Scale) -> Levels | None:
    wanted = scale.wanted
    least = np.full(wanted + 1, np.inf)  # least error of the genes so far that save each amount or more
    least[0] = 0.0
    choices = np.zeros((len(errors), wanted + 1), dtype=np.int16)
    for gene, (row, weights) in enumerate(zip(errors, scale.weights, strict=True)):
        better = least + row[0]
        for level in range(1, len(row)):
            if row[level] == np.inf:
                continue
            shift = min(int(weights[level]), wanted + 1)
            # amounts below the level's own saving need nothing from the genes before
            for part, before in ((slice(0, shift), least[:1]), (slice(shift, None), least[: wanted + 1 - shift])):
                error = before + row[level]
                chosen = error < better[part]
                choices[gene, part][chosen] = level
                better[part] = np.minimum(better[part], error)
        least = better
    return _trace(choices, scale) if np.isfinite(least[wanted]) else None


def _trace(choices: NDArray[np.int16], scale: _Scale) -> Levels:
    levels = np.zeros(len(choices), dtype=np.int64)
    left = scale.wanted
    for gene in reversed(range(len(choices))):
        levels[gene] = choices[gene, left]
        left = max(left - int(scale.weights[gene, levels[gene]]), 0)
    return levels


def _most(errors: NDArray[np.float64], budget: Budget) -> Levels:
    most: Levels = np.where(np.isfinite(errors), budget.savings, -1).argmax(axis=1).astype(np.int64)
    return most


def _mended(levels: Levels, errors: NDArray[np.float64], budget: Budget) -> Levels:
    """Let genes fall while the budget holds, the one first whose fall mends most."""
    levels = levels.copy()
    genes = np.arange(len(levels))
    surplus = budget.saved(levels) - budget.wanted
    while True:
        price = budget.savings[genes, levels][:, None] - budget.savings
        mends = np.where((price <= surplus) & np.isfinite(errors), errors[genes, levels][:, None] - errors, 0.0)
        gene, level = np.unravel_index(int(mends.argmax()), mends.shape)
        if mends[gene, level] <= 0:
            return levels
        surplus -= int(price[gene, level])
        levels[gene] = level


def _reach(errors: NDArray[np.float64], budget: Budget) -> int:
    return int(np.where(np.isfinite(errors), budget.savings, 0).max(axis=1).sum())
