"""Captions say what the pixels say."""

import runpy
import sys
from typing import Any

import pytest
import torch

from tests.examples.scripts import ROOT


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(ROOT / "examples"), *sys.path])
        return runpy.run_path(str(ROOT / "examples" / "captions.py"))


def picture(colour: tuple[int, int, int], ground: tuple[int, int, int], left: int, right: int) -> torch.Tensor:
    """A block of one colour on a ground of another, uint8 [1, 3, 32, 32]."""
    image = torch.tensor(ground, dtype=torch.uint8)[None, :, None, None].repeat(1, 1, 32, 32)
    image[:, :, 6:26, left:right] = torch.tensor(colour, dtype=torch.uint8)[None, :, None, None]
    return image


def test_colour_background_and_side_are_named(script: dict[str, Any]) -> None:
    image = picture((190, 30, 40), (140, 190, 230), 4, 16)
    ((plain, flipped),) = script["captions"](image, torch.tensor([9]))

    assert plain == [
        "a photo of a red truck on a light blue background on the left",
        "a photo of a red truck on the left",
        "a red truck on a light blue background",
        "a photo of a truck",
    ]
    assert flipped[0] == "a photo of a red truck on a light blue background on the right"


def test_what_fills_the_image_is_a_close_up(script: dict[str, Any]) -> None:
    image = torch.full((1, 3, 32, 32), 230, dtype=torch.uint8)
    image[:, :, 3:-3, 3:-3] = 10
    ((plain, _),) = script["captions"](image, torch.tensor([3]))

    assert plain[0] == "a photo of a black cat on a white background, close-up"


def test_every_third_image_has_the_classs_other_name(script: dict[str, Any]) -> None:
    images = picture((190, 30, 40), (140, 190, 230), 10, 22).repeat(3, 1, 1, 1)
    said = [plain[3] for plain, _ in script["captions"](images, torch.tensor([0, 0, 0]))]

    assert said == ["a photo of a plane", "a photo of an airplane", "a photo of an airplane"]


def test_prompts_are_of_each_class_in_turn(script: dict[str, Any]) -> None:
    prompts = script["prompts"]()

    assert len(set(prompts)) == 50
    assert all(name in text for name, text in zip(script["CLASSES"] * 5, prompts, strict=True))
