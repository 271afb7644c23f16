import pytest
import torch

from diffes.errors import InvalidInput
from diffes.prompts import RowSpec
from diffes.wording import ClassNames
from tests.prompting import labelled, of_label

NAMES = ["cat", "dog", "fire truck"]
WORDING = ClassNames(NAMES, labelled(0, 1, 2, none=10))


def test_a_class_is_meant_by_its_name_its_id_or_a_text_that_names_it() -> None:
    wanted = of_label(2)

    assert WORDING.prompt("Fire Truck") == WORDING.prompt(2) == WORDING.prompt("2") == wanted
    assert WORDING.prompt(text="a photo of two fire trucks") == wanted
    assert wanted.said == {"label": 2}


def test_what_means_no_class_is_refused() -> None:
    with pytest.raises(InvalidInput, match="invalid label.*found 3"):
        WORDING.prompt(3)
    with pytest.raises(InvalidInput, match="invalid prompt.*cat, dog"):
        WORDING.prompt(text="a bird")


def test_a_prompt_is_a_row_of_every_input() -> None:
    rows = WORDING.prompt("dog").rows({"labels": RowSpec(torch.int64)})

    assert len(rows) == 1
    assert torch.equal(rows.branches(2.0)["labels"], torch.tensor([1, 10]))
