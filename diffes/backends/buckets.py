"""Batch sizes that graphs are recorded or engines built for. A batch is padded to one of them, or cut into several."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

# rows, guidance rows included. On an H100 a step of 675 million weights takes a fifth less at 6, 12, 24 and 48 rows
# than at the power of two above
BUCKETS = (1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64)
CONDITION_BUCKETS = (16, 32, 64, 128)  # rows of all steps of a request, which cost nearly the same
DECODED = 4  # images a decoder is given at once: its activations are many times an image, and more at once gain little
DECODE_BUCKETS = (1, 2, DECODED)


class Piece(NamedTuple):
    """Rows `start` to `end` of a batch, run as `bucket` rows."""

    start: int
    end: int
    bucket: int


def pieces(rows: int, buckets: Sequence[int] = BUCKETS) -> Iterator[Piece]:
    """The batch in as few runs as the largest bucket allows, none padded to more than twice its rows if it can be
    helped; `buckets` rise.

    What is left goes into the smallest bucket that holds it if that is not more than twice as large; otherwise the
    largest bucket that it fills goes first. Below the smallest bucket everything is padded.
    """
    start = 0
    while start < rows:
        left = rows - start
        holding = next((bucket for bucket in buckets if bucket >= left), None)
        filled = max((bucket for bucket in buckets if bucket <= left), default=None)
        wasteful = holding is None or holding > 2 * left
        bucket = filled if filled is not None and wasteful else holding
        assert bucket is not None  # one of the two is there
        end = min(rows, start + bucket)
        yield Piece(start, end, bucket)
        start = end


def in_pieces(decode: Callable[[Tensor], Tensor], latents: Tensor, most: int = DECODED) -> Tensor:
    """Latents [B, ...] decoded a few at a time → images [B, ...]."""
    return torch.cat([decode(part) for part in latents.split(most)])
