import pytest
import torch
from torch import Tensor

from diffes.backends.buckets import BUCKETS, Piece, in_pieces, pieces


@pytest.mark.parametrize("rows", range(1, 200))
def test_every_row_is_in_one_piece_and_every_piece_fits_the_smallest_bucket(rows: int) -> None:
    found = list(pieces(rows))
    assert [row for piece in found for row in range(piece.start, piece.end)] == list(range(rows))
    for piece in found:
        assert piece.bucket == min(bucket for bucket in BUCKETS if bucket >= piece.end - piece.start)


def test_a_batch_above_the_largest_bucket_is_split() -> None:
    assert list(pieces(11, (1, 2, 4))) == [Piece(0, 4, 4), Piece(4, 8, 4), Piece(8, 11, 4)]


@pytest.mark.parametrize(
    ("rows", "sizes"),
    [
        (1, [2]),
        (2, [2]),
        (3, [2, 2]),  # 8 would be more than twice the rows
        (4, [8]),
        (8, [8]),
        (10, [8, 2]),
        (17, [32]),
        (32, [32]),
        (33, [32, 2]),
        (100, [32, 32, 32, 8]),
    ],
)
def test_rows_are_padded_to_at_most_twice_as_many_and_cut_above_the_largest(rows: int, sizes: list[int]) -> None:
    found = list(pieces(rows, (2, 8, 32)))
    assert [piece.bucket for piece in found] == sizes
    covered = [row for piece in found for row in range(piece.start, piece.end)]
    assert covered == list(range(rows))
    assert all(piece.end - piece.start <= piece.bucket for piece in found)


def test_fewer_rows_than_the_smallest_size_are_padded_to_it() -> None:
    assert list(pieces(3, (16,))) == [Piece(0, 3, 16)]


@pytest.mark.parametrize("rows", [1, 3, 4, 9])
def test_images_are_decoded_a_few_at_a_time_in_order(rows: int) -> None:
    seen: list[int] = []

    def decode(latents: Tensor) -> Tensor:
        seen.append(len(latents))
        return latents * 2

    latents = torch.arange(rows, dtype=torch.float32).view(-1, 1)
    assert torch.equal(in_pieces(decode, latents, most=4), latents * 2)
    assert max(seen) <= 4
    assert len(seen) == -(-rows // 4)
