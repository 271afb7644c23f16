import pytest

from diffes.errors import InvalidInput
from diffes.sizes import WHOLE, Framing, Size


def test_a_size_is_width_times_height() -> None:
    assert Size.read("1216x832") == Size(height=832, width=1216)
    assert str(Size(height=832, width=1216)) == "1216x832"


@pytest.mark.parametrize(
    "text", ["", "1216", "1216X832", "0x8", "08x8", "8x8x8", " 8x8", "8x8\n", "9999999x8", "\u0661x8"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="invalid size: expected WIDTHxHEIGHT"):
        Size.read(text)


def test_the_field_that_is_no_size_is_named() -> None:
    with pytest.raises(InvalidInput, match="invalid target_size"):
        Size.read("8", "target_size")


def test_what_a_framing_leaves_out_is_the_images_own() -> None:
    assert WHOLE.of(Size(16, 24)) == (16, 24, 0, 0, 16, 24)
    assert Framing(cropped=(3, 4)).of(Size(16, 24)) == (16, 24, 3, 4, 16, 24)
    assert Framing(Size(64, 32), (1, 2), Size(8, 9)).of(Size(16, 24)) == (64, 32, 1, 2, 8, 9)


def test_a_framing_says_what_it_was_given() -> None:
    assert WHOLE.said() == {}
    told = Framing(Size(64, 32), (0, 0)).said("negative_")
    assert told == {"negative_original_size": "32x64", "negative_crops_coords_top_left": (0, 0)}
