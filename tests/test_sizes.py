import pytest

from diffes.errors import InvalidInput
from diffes.sizes import Size


def test_a_size_is_width_times_height() -> None:
    assert Size.read("1216x832") == Size(height=832, width=1216)
    assert str(Size(height=832, width=1216)) == "1216x832"


@pytest.mark.parametrize(
    "text", ["", "1216", "1216X832", "0x8", "08x8", "8x8x8", " 8x8", "8x8\n", "9999999x8", "\u0661x8"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="invalid size: expected WIDTHxHEIGHT"):
        Size.read(text)
