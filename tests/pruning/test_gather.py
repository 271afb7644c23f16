import pytest

from diffes.pruning.gather import _halves


@pytest.mark.parametrize("images", [2, 11, 40])
def test_the_halves_share_no_image_and_miss_none(images: int) -> None:
    first, second = _halves(images, 10)
    assert sorted(first + second) == list(range(images))
    assert abs(len(first) - len(second)) <= 1


def test_both_halves_see_every_label() -> None:
    assert [{i % 10 for i in half} for half in _halves(20, 10)] == [set(range(10))] * 2
