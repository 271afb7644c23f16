"""What a budget asks to remove: one share of the cost or, for a Pareto front, the least and the largest of a range."""

from math import isfinite
from typing import Any, NamedTuple


class Shares(NamedTuple):
    """From the least share to the largest, both in 0..1."""

    low: float
    high: float


Share = float | tuple[float, float]


def read_share(value: Any) -> Share | None:
    """A share between 0 and 1 or a range of them, from a number, a pair, or text like `0.375` or `0.2:0.65`.

    None is none. ValueError for anything else.
    """
    if value is None:
        return None
    parts = value.split(":") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
    try:
        shares = [float(part) for part in parts]
    except (TypeError, ValueError):
        shares = []
    inside = all(isfinite(share) and 0 < share < 1 for share in shares)
    if len(shares) == 1 and inside:
        return shares[0]
    if len(shares) == 2 and inside and shares[0] < shares[1]:
        return shares[0], shares[1]
    raise ValueError("a share between 0 and 1, or a range LOW:HIGH of them")
