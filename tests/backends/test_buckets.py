import pytest

from diffes.backends.buckets import BUCKETS, Piece, pieces


@pytest.mark.parametrize("rows", range(1, 200))
def test_every_row_is_in_one_piece_and_every_piece_fits_the_smallest_bucket(rows: int) -> None:
    found = list(pieces(rows))
    assert [row for piece in found for row in range(piece.start, piece.end)] == list(range(rows))
    for piece in found:
        assert piece.bucket == min(bucket for bucket in BUCKETS if bucket >= piece.end - piece.start)


def test_a_batch_above_the_largest_bucket_is_split() -> None:
    assert list(pieces(11, (1, 2, 4))) == [Piece(0, 4, 4), Piece(4, 8, 4), Piece(8, 11, 4)]
