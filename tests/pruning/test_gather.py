import pytest

from diffes.pruning.gather import _halves


@pytest.mark.parametrize("images", [2, 11, 40])
@pytest.mark.parametrize("prompts", [1, 3, 10])
def test_the_halves_share_no_image_and_miss_none(images: int, prompts: int) -> None:
    first, second = _halves(images, prompts)
    assert sorted(first + second) == list(range(images))
    assert abs(len(first) - len(second)) <= 1


@pytest.mark.parametrize("prompts", [1, 3, 10])
def test_both_halves_see_every_prompt(prompts: int) -> None:
    assert [{i % prompts for i in half} for half in _halves(2 * prompts, prompts)] == [set(range(prompts))] * 2
