import pytest
import torch

from diffes.checkpoint import Checkpoint
from diffes.errors import InvalidInput
from diffes.prompts import RowSpec
from diffes.sizes import Framing, Size
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


def test_classes_are_examples_in_turn() -> None:
    assert WORDING.example(4) == WORDING.prompt("dog")
    with pytest.raises(InvalidInput, match="invalid negative_prompt.*knows classes"):
        WORDING.prompt("dog", unwanted="a cat")


def test_a_text_is_meant_as_it_stands_and_led_away_from_nothing(tiny_sdxl: Checkpoint) -> None:
    wording = tiny_sdxl.wording
    prompt = wording.prompt(text="a red cat")

    assert prompt.said == {"prompt": "a red cat"}
    assert (prompt.wanted["present"], prompt.unwanted["present"]) == (1, 0)
    assert prompt.wanted["time_ids"] == prompt.unwanted["time_ids"] == (16, 16, 0, 0, 16, 16)
    led = wording.prompt(text="a red cat", unwanted="a dog")
    assert led.said == {"prompt": "a red cat", "negative_prompt": "a dog"}
    assert led.unwanted == wording.prompt(text="a dog").wanted
    assert wording.prompt(text="a red cat", unwanted="").unwanted["present"] == 1


def test_a_framing_is_told_to_both_branches_unless_each_has_its_own(tiny_sdxl: Checkpoint) -> None:
    wording, framing = tiny_sdxl.wording, Framing(Size(64, 32), (1, 2))
    prompt = wording.prompt(text="a red cat", framing=framing)

    assert prompt.wanted["time_ids"] == prompt.unwanted["time_ids"] == (64, 32, 1, 2, 16, 16)
    assert prompt.said == {"prompt": "a red cat", "original_size": "32x64", "crops_coords_top_left": (1, 2)}
    own = wording.prompt(text="a red cat", framing=framing, unwanted_framing=Framing(Size(8, 8), None, Size(4, 4)))
    assert (own.wanted, own.unwanted["time_ids"]) == (prompt.wanted, (8, 8, 0, 0, 4, 4))


def test_a_framing_means_nothing_to_a_model_that_knows_classes() -> None:
    with pytest.raises(InvalidInput, match="invalid target_size.*not told how an image was cut.*found 8x8"):
        WORDING.prompt("dog", framing=Framing(target=Size(8, 8)))
    with pytest.raises(InvalidInput, match="invalid negative_original_size"):
        WORDING.prompt("dog", unwanted_framing=Framing(Size(8, 8), None, Size(8, 8)))


def test_texts_are_examples_in_turn(tiny_sdxl: Checkpoint) -> None:
    wording = tiny_sdxl.wording

    assert list(wording.names) == ["a red cat", "a dog", "two birds on a roof", "nothing"]
    assert wording.example(5) == wording.prompt(text="a dog")
    assert len(wording.examples) == 4
    rows = wording.example(2).rows(tiny_sdxl.architecture.prompt_inputs()).wanted
    assert all(torch.equal(value[0], wording.examples.wanted[name][2]) for name, value in rows.items())


def test_a_label_means_nothing_to_a_model_that_reads_texts(tiny_sdxl: Checkpoint) -> None:
    with pytest.raises(InvalidInput, match="invalid label.*reads texts.*found 3"):
        tiny_sdxl.wording.prompt(3, "a cat")
    with pytest.raises(InvalidInput, match="invalid prompt.*reads texts.*found none"):
        tiny_sdxl.wording.prompt()


def test_a_judges_classes_are_those_in_order_or_those_that_texts_name(tiny_sdxl: Checkpoint) -> None:
    assert WORDING.classes(["a", "b"]) == (0, 1, None)
    assert tiny_sdxl.wording.classes(["cat", "bird"]) == (0, None, 1, None)
