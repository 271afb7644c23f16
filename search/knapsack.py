"""The multiple-choice knapsack: one level per gene, least total error, at least the wanted saving.

Dynamic programming over savings counted in a unit; savings are rounded down and the wanted saving up, so an answer
never exceeds the budget. With the savings' greatest common divisor as unit it is exact. The additive model of error
is SPDY's (Frantar & Alistarh, arXiv 2201.13096).
"""

from math import gcd

import numpy as np
from numpy.typing import NDArray

from diffes.errors import SearchError
from search.budget import Budget, Levels

_MOST_UNITS = 1 << 14


def solve_knapsack(errors: NDArray[np.float64], budget: Budget, most_units: int = _MOST_UNITS) -> Levels:
    """Levels [genes] of least summed error; errors [genes, levels + 1], inf forbids a level.

    SearchError if the finite entries cannot save enough.
    """
    unit = max(gcd(*budget.savings.ravel().tolist()), -(-budget.wanted // most_units), 1)
    weights = budget.savings // unit
    wanted = -(-budget.wanted // unit)
    least = np.full(wanted + 1, np.inf)  # least error of the genes so far that save each amount or more
    least[0] = 0.0
    amounts = np.arange(wanted + 1)
    choices = np.empty((len(errors), wanted + 1), dtype=np.int16)
    for gene, (row, weight) in enumerate(zip(errors, weights, strict=True)):
        options = np.stack([e + least[np.maximum(amounts - w, 0)] for e, w in zip(row, weight, strict=True)])
        choices[gene] = options.argmin(0)
        least = options.min(0)
    if not np.isfinite(least[wanted]):
        raise SearchError(
            "no assignment of levels with a finite error saves enough",
            expected=f"{budget.wanted} MACs saved",
            found=f"at most {_finite_reach(errors, budget)}",
            remedy="Remove less, or measure more table_levels.",
        )
    return _trace(choices, weights, wanted)


def _trace(choices: NDArray[np.int16], weights: NDArray[np.int64], wanted: int) -> Levels:
    levels = np.zeros(len(choices), dtype=np.int64)
    left = wanted
    for gene in reversed(range(len(choices))):
        levels[gene] = choices[gene, left]
        left = max(left - int(weights[gene, levels[gene]]), 0)
    return levels


def _finite_reach(errors: NDArray[np.float64], budget: Budget) -> int:
    return int(np.where(np.isfinite(errors), budget.savings, 0).max(1).sum())
