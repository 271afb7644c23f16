import torch

from diffes.prompts import Encoded, count
from tests.prompting import NONE, labelled


def labels(rows: dict[str, torch.Tensor] | object) -> list[int]:
    assert isinstance(rows, dict)
    found: list[int] = rows["labels"].tolist()
    return found


def test_prompts_have_their_turn_again_when_all_had_it() -> None:
    drawn = labelled(4, 5, 6).in_turn(range(2, 7))

    assert labels(drawn.wanted) == [6, 4, 5, 6, 4]
    assert labels(drawn.unwanted) == [NONE] * 5


def test_guidance_lays_what_is_unwanted_behind_what_is_wanted() -> None:
    prompts = labelled(4, 5)

    assert labels(prompts.branches(1.5)) == [4, 5, NONE, NONE]
    assert labels(prompts.branches(1.0)) == [4, 5]


def test_some_of_them_keep_both_sides() -> None:
    last = labelled(4, 5, 6)[1:]

    assert len(last) == 2
    assert (labels(last.wanted), labels(last.unwanted)) == ([5, 6], [NONE, NONE])


def test_what_is_encoded_has_as_many_rows_as_its_features() -> None:
    encoded = Encoded({"a": torch.zeros(3, 2), "b": torch.zeros(3)}, {"text": torch.zeros(3, 7)})

    assert len(encoded) == count(encoded.constants) == 3


def test_rows_are_repeated_one_after_the_other() -> None:
    encoded = Encoded({"a": torch.tensor([[1, 2], [3, 4]])}, {"text": torch.tensor([5, 6])}).repeated(2)

    assert encoded.features["a"].tolist() == [[1, 2], [1, 2], [3, 4], [3, 4]]
    assert encoded.constants["text"].tolist() == [5, 5, 6, 6]
