"""Palettes: the few widths of every layer that all stages choose from, so that what they store fits.

A layer's palette is a facility location problem: a level is opened for its numbers, and every stage takes the open
level that suits it best. With a price on savings and a price on numbers the layers are independent, and each palette
is improved by opening or closing one level at a time. The prices are then bisected (Everett 1963, "Generalized
Lagrange multiplier method") until both the budget and the memory hold.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.budget import Budget
from search.knapsack import solve_knapsack

_LOWEST, _HIGHEST = 1e-9, 1e6  # prices, of errors, savings and numbers scaled to about 1
_SAVING_STEPS, _MEMORY_STEPS = 40, 24

Mask = NDArray[np.bool_]
Float64 = NDArray[np.float64]


def choose_palette(errors: Float64, budget: Budget, sizes: NDArray[np.int64], room: int) -> Mask | None:
    """Levels [genes of a stage, levels + 1] open to every stage; None if none that fit save enough.

    errors [genes, levels + 1]; sizes [genes of a stage, levels + 1] are the numbers a level stores, `room` is how many
    all open ones may. Level 0 is always open; whatever room is left opens the smallest levels.
    """
    market = _Market.of(errors, budget, sizes, room)
    low, high = _LOWEST, _HIGHEST  # prices of numbers: too low a price fills more than the room
    best = market.opened(high)
    if best is None or not market.fits(best):
        return None
    for _ in range(_MEMORY_STEPS):
        price = float(np.sqrt(low * high))
        found = market.opened(price)
        if found is not None and market.fits(found):
            high, best = price, found
        else:
            low = price
    return market.filled(best)


@dataclass(frozen=True)
class _Market:
    """Errors and savings [stages, genes of a stage, levels + 1] and sizes [genes of a stage, levels + 1].

    Errors are scaled by the least there is without a memory limit.
    """

    errors: Float64
    savings: NDArray[np.int64]
    wanted: int
    sizes: NDArray[np.int64]
    room: int

    @classmethod
    def of(cls, errors: Float64, budget: Budget, sizes: NDArray[np.int64], room: int) -> "_Market":
        shape = -1, *sizes.shape
        useful = np.where(budget.useful, errors, np.inf)
        unlimited = float(errors[np.arange(len(errors)), solve_knapsack(errors, budget)].sum())
        scaled = useful / unlimited if unlimited > 0 else useful
        return cls(scaled.reshape(shape), budget.savings.reshape(shape), max(budget.wanted, 1), sizes, room)

    def fits(self, palette: Mask) -> bool:
        return int(self.sizes[palette].sum()) <= self.room

    def opened(self, price: float) -> Mask | None:
        """The palette at a price of numbers and the lowest price of savings that meets the budget."""
        low, high = _LOWEST, _HIGHEST
        best = self._saving(high, price)
        if best is None:
            return None
        for _ in range(_SAVING_STEPS):
            middle = float(np.sqrt(low * high))
            found = self._saving(middle, price)
            low, high, best = (middle, high, best) if found is None else (low, middle, found)
        return best

    def filled(self, palette: Mask) -> Mask:
        """The palette with the smallest other levels added as long as there is room."""
        found, left = palette.copy(), self.room - int(self.sizes[palette].sum())
        smallest = np.argsort(self.sizes, axis=None, kind="stable")
        for gene, level in zip(*np.unravel_index(smallest, found.shape), strict=True):
            if not found[gene, level] and self.sizes[gene, level] <= left:
                found[gene, level] = True
                left -= int(self.sizes[gene, level])
        return found

    def _saving(self, saving_price: float, price: float) -> Mask | None:
        """The palette at these prices, None if what stages take of it saves too little."""
        values = self.errors - saving_price / self.wanted * self.savings
        palette = self._improved(values, price)
        taken = np.where(palette, values, np.inf).argmin(axis=2)
        saved = np.take_along_axis(self.savings, taken[:, :, None], axis=2).sum()
        if saved < self.wanted:
            return None
        used = np.zeros_like(palette)
        used[np.arange(palette.shape[0])[None, :], taken] = True
        used[:, 0] = True
        return used

    def _improved(self, values: Float64, price: float) -> Mask:
        """Open and close levels, in every layer the one that gains most, until none gains."""
        genes, levels = self.sizes.shape
        palette = np.zeros((genes, levels), dtype=np.bool_)
        palette[np.arange(genes)[None, :], values.argmin(axis=2)] = True
        palette[:, 0] = True
        toggle = np.eye(levels, dtype=np.bool_)[1:, None, :]
        prices = price / max(self.room, 1) * self.sizes
        while True:
            candidates = np.concatenate([palette[None], palette[None] ^ toggle])  # [1 + toggles, genes, levels]
            kept = np.where(candidates[:, None], values[None], np.inf).min(axis=3).sum(axis=1)
            costs = kept + np.where(candidates, prices, 0).sum(axis=2)
            best = costs.argmin(axis=0)
            if not best.any():
                return palette
            palette = candidates[best, np.arange(genes)]
