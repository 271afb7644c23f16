"""Batch sizes that graphs are recorded or built for. A batch is padded to the next one, or split if it is larger."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

BUCKETS = (1, 2, 4, 8, 16, 32, 64)  # rows, guidance rows included


class Piece(NamedTuple):
    """Rows `start` to `end` of a batch, run as `bucket` rows."""

    start: int
    end: int
    bucket: int


def pieces(rows: int, buckets: Sequence[int] = BUCKETS) -> Iterator[Piece]:
    """The batch in as few runs as the largest bucket allows; `buckets` rise."""
    start = 0
    while start < rows:
        end = min(rows, start + buckets[-1])
        yield Piece(start, end, next(bucket for bucket in buckets if bucket >= end - start))
        start = end
