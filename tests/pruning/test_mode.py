import pytest

from diffes.errors import InvalidInput
from diffes.pruning.mode import Compensation


@pytest.mark.parametrize("text", ["none", "bias", "full", "low-rank:1", "low-rank:16"])
def test_a_mode_is_its_text(text: str) -> None:
    assert str(Compensation.parse(text)) == text


def test_only_low_rank_has_a_rank() -> None:
    assert Compensation.parse("low-rank:016") == Compensation("low-rank", 16)
    assert Compensation.parse("full").rank == 0


@pytest.mark.parametrize("text", ["", "some", "Full", "low-rank", "low-rank:", "low-rank:0", "low-rank:-4", "full:3"])
def test_any_other_text_is_refused_and_told_what_there_is(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"none, bias, low-rank:RANK or full"):
        Compensation.parse(text)


def test_what_nothing_makes_up_for_is_ordered_by_what_it_gives() -> None:
    found = {text: Compensation.parse(text).ordering for text in ("none", "bias", "low-rank:8", "full")}
    assert found == {"none": "energy", "bias": "variance", "low-rank:8": "obs", "full": "obs"}
