"""What denoiser calls cost by kind, which is subgraph and size, and rows: measured before the first request, then
corrected by what is seen.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Protocol

from diffes.backends.buckets import pieces

_RECENT = 0.05  # weight of the newest call in the pace of late
_SANE = 4.0  # times faster or slower than expected: a call further off (a page fault, a sleeping machine) says no more


class Call(Protocol):
    """What a step needs, as far as its cost goes (scheduling.BatchKey)."""

    @property
    def kind(self) -> str:
        """The subgraph it runs, and the size of its images."""

    def rows(self, images: int, /) -> int:
        """Of a call for so many images."""


class StepCosts:
    """Seconds of one call until the next can begin: as a table says, times the machine's pace of late, and what has
    passed between two calls of late, which is the same for many rows as for few. Where nothing is known a call takes as
    long as the last ones did, whatever its rows: company is then taken to cost nothing.

    `measured` are seconds by rows, by kind. `buckets` are the row counts that a backend pads a call to; without
    them a call of any other number of rows is taken to lie between its measured neighbours.
    """

    def __init__(self, measured: Mapping[str, Mapping[int, float]], buckets: Sequence[int] = ()) -> None:
        self._tables = {
            subgraph: (tuple(sorted(seconds)), tuple(seconds[rows] for rows in sorted(seconds)))
            for subgraph, seconds in measured.items()
        }
        self.buckets = tuple(buckets)
        self._pace = 1.0
        self._best_pace = 1.0
        self._between = _OfLate()
        self._ending = _OfLate()
        self.known = bool(measured)  # or seen: before either, seconds mean nothing
        self._told = lru_cache(maxsize=4096)(self._by_table)
        self._ahead = lru_cache(maxsize=1024)(self._remaining_by_table)

    @property
    def measured(self) -> dict[str, dict[int, float]]:
        """Of each subgraph, by rows, as it was given."""
        return {subgraph: dict(zip(*table, strict=True)) for subgraph, table in self._tables.items()}

    def seconds(self, subgraph: str, rows: int) -> float:
        """Of one call."""
        return self._pace * self._told(subgraph, rows) + self._between.seconds

    def remaining(self, keys: tuple[Call, ...], step: int, company: int = 1) -> float:
        """Of the steps from `step` on: an image's share, if so many take each of them together."""
        return self._share(keys, step, company, self._pace, self._between.seconds)

    @property
    def ending(self) -> float:
        """Seconds from an image's last step to its answer, which few have exceeded of late: decoding, and that it is
        noticed.
        """
        return self._ending.seconds + 2 * self._ending.deviation

    def at_best(self, keys: tuple[Call, ...], step: int, images: int = 1, company: int = 1) -> float:
        """Seconds until so many images are answered that have the steps from `step` on before them, so many together,
        if all goes as well as it ever has.
        """
        if not self.known:
            return 0.0
        return images * self._share(keys, step, company, self._best_pace, self._between.least) + self._ending.least

    def observe(self, subgraph: str, rows: int, seconds: float, gap: float | None = None) -> None:
        """A call of that kind took so long: all others will have changed with it. `gap` seconds passed before it in
        which there was work for it; None if there was none, or no call before it.
        """
        if gap is not None:
            self._between.add(gap)
        ratio = seconds / (self._pace * self._told(subgraph, rows))
        if not self.known:
            self._pace = self._best_pace = ratio
            self.known = True
        elif subgraph in self._tables or not self._tables:
            self._pace *= min(max(ratio, 1 / _SANE), _SANE) ** _RECENT
            self._best_pace = min(self._best_pace, self._pace)

    def observe_ending(self, seconds: float) -> None:
        """An answer came so long after its last step."""
        self._ending.add(seconds)

    def _share(self, keys: tuple[Call, ...], step: int, company: int, pace: float, between: float) -> float:
        return pace * self._ahead(keys, company)[step] + between * (len(keys) - step) / company

    def _by_table(self, subgraph: str, rows: int) -> float:
        table = self._tables.get(subgraph)
        if table is None:
            return 1.0
        if not self.buckets:
            return _between(*table, rows)
        return sum(_between(*table, piece.bucket) for piece in pieces(rows, self.buckets))

    def _remaining_by_table(self, keys: tuple[Call, ...], company: int) -> list[float]:
        sums = [0.0]
        for key in reversed(keys):
            sums.append(sums[-1] + self._told(key.kind, key.rows(company)) / company)
        return sums[::-1]


class _OfLate:
    """A mean that forgets; how far from it they lie, as told by those above it, so that a mean on its way down has no
    more of it; and the least there ever was.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.deviation = 0.0
        self.least = 0.0

    def add(self, seconds: float) -> None:
        """The newest."""
        self.least = min(self.least or seconds, seconds)
        if self.seconds:
            off = min(seconds, _SANE * self.seconds) - self.seconds
            self.deviation += _RECENT * (2 * max(off, 0.0) - self.deviation)
            self.seconds += _RECENT * off
        else:
            self.seconds = seconds


def _between(rows: Sequence[int], seconds: Sequence[float], wanted: int) -> float:
    """Linear between measured row counts; beyond the last as many seconds a row as there, below the first as it is."""
    if wanted <= rows[0]:
        return seconds[0]
    if wanted >= rows[-1]:
        return seconds[-1] * wanted / rows[-1]
    above = bisect_left(rows, wanted)
    low, high = rows[above - 1], rows[above]
    share = (wanted - low) / (high - low)
    return seconds[above - 1] * (1 - share) + seconds[above] * share
