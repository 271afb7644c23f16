"""Captions of CIFAR-10's images: what class it is of, and of which colour, before what, and where, by its pixels.

Nothing here was written by people looking at the images: a colour is the commonest of the palette in the middle, a
background the commonest at the edge, and an image is a close-up where most of it is unlike its edge.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from cifar10 import CLASSES
from torch import Tensor

PALETTE = {
    "black": (20, 20, 20),
    "grey": (128, 128, 128),
    "white": (235, 235, 235),
    "red": (180, 35, 35),
    "orange": (215, 130, 50),
    "yellow": (220, 205, 70),
    "green": (70, 120, 50),
    "blue": (60, 100, 180),
    "light blue": (150, 190, 225),
    "brown": (105, 75, 50),
    "beige": (200, 175, 140),
}
SEEN = {  # colour and background of a class's prompts
    "airplane": [
        ("white", "light blue"),
        ("grey", "blue"),
        ("black", "grey"),
        ("white", "white"),
        ("red", "light blue"),
    ],
    "automobile": [("red", "grey"), ("blue", "white"), ("black", "grey"), ("white", "green"), ("yellow", "grey")],
    "bird": [("brown", "green"), ("black", "light blue"), ("white", "blue"), ("grey", "grey"), ("yellow", "green")],
    "cat": [("black", "white"), ("white", "brown"), ("brown", "beige"), ("grey", "grey"), ("orange", "white")],
    "deer": [("brown", "green"), ("brown", "beige"), ("brown", "white"), ("brown", "black"), ("beige", "green")],
    "dog": [("brown", "white"), ("white", "green"), ("black", "grey"), ("beige", "brown"), ("brown", "black")],
    "frog": [("green", "brown"), ("brown", "white"), ("green", "green"), ("brown", "grey"), ("black", "beige")],
    "horse": [("brown", "green"), ("white", "green"), ("black", "beige"), ("brown", "light blue"), ("brown", "white")],
    "ship": [("white", "blue"), ("black", "light blue"), ("red", "blue"), ("grey", "grey"), ("blue", "white")],
    "truck": [("red", "white"), ("white", "light blue"), ("blue", "grey"), ("yellow", "green"), ("black", "white")],
}
NOUNS = {"airplane": "plane", "automobile": "car", "ship": "boat"}  # beside the class's own name
KINDS = 4  # captions of one image, from all that is known of it to its class alone
_EDGE = 3  # pixels
_UNLIKE = 60.0  # levels of 255 from the edge's mean: no background
_ASIDE = 0.09  # of the image's width that its centre of mass is from the middle
_CLOSE = 0.55  # of the image's area

_LITTLE = 0.1  # of the middle
# lightness, red against green, blue against yellow: colours differ more to the eye than light and shade
_SEEN = torch.tensor([[0.2, 0.4, 0.1], [1.0, -1.0, 0.0], [-0.5, -0.5, 1.0]])

_COLOURS = list(PALETTE)
_AT_ONCE = 4096


def captions(images: Tensor, labels: Tensor) -> Iterator[tuple[list[str], list[str]]]:
    """KINDS captions of each image, uint8 [N, 3, 32, 32], and as many of it flipped, what is left being right."""
    for start in range(0, len(images), _AT_ONCE):
        part = images[start : start + _AT_ONCE].float()
        facts = zip(
            labels[start : start + _AT_ONCE].tolist(),
            _commonest(part, _shown(part)).tolist(),
            _commonest(part, _edge(part).expand(len(part), -1, -1)).tolist(),
            *(each.tolist() for each in _mass(part)),
            strict=True,
        )
        for number, (label, colour, background, aside, area) in enumerate(facts, start):
            shown = _noun(CLASSES[label], number), _COLOURS[colour], _COLOURS[background]
            yield _worded(*shown, _where(aside, area)), _worded(*shown, _where(-aside, area))


def prompts() -> list[str]:
    """What to look at a model with: each class in turn, by its own name, in colours and before backgrounds it has."""
    rounds = range(len(next(iter(SEEN.values()))))
    return [
        _worded(name, *SEEN[name][round_], ("", ", close-up", " on the left")[round_ % 3])[round_ % 3]
        for round_ in rounds
        for name in CLASSES
    ]


def _worded(noun: str, colour: str, background: str, where: str) -> list[str]:
    article = "an" if colour[0] in "aeiou" else "a"
    plain = "an" if noun[0] in "aeiou" else "a"
    return [
        f"a photo of {article} {colour} {noun} on a {background} background{where}",
        f"a photo of {article} {colour} {noun}{where}",
        f"{article} {colour} {noun} on a {background} background",
        f"a photo of {plain} {noun}",
    ]


def _noun(name: str, number: int) -> str:
    """The class's own name, and every third time its other one."""
    return NOUNS.get(name, name) if number % 3 == 0 else name


def _where(aside: float, area: float) -> str:
    if area > _CLOSE:
        return ", close-up"
    if abs(aside) > _ASIDE:
        return " on the left" if aside < 0 else " on the right"
    return ""


def _commonest(images: Tensor, where: Tensor) -> Tensor:
    """[N, 3, H, W], where [N, H, W] → the palette's number of most pixels there, [N]."""
    palette = torch.tensor(list(PALETTE.values()), dtype=torch.float32) @ _SEEN.T
    pixels = images.flatten(2).transpose(1, 2) @ _SEEN.T
    nearest = torch.cdist(pixels, palette.expand(len(pixels), -1, -1)).argmin(2)
    counts = (torch.nn.functional.one_hot(nearest, len(PALETTE)) * where.flatten(1)[:, :, None]).sum(1)
    return counts.argmax(1)


def _shown(images: Tensor) -> Tensor:
    """What is unlike the edge, in the middle; all of the middle where that is next to nothing."""
    middle = _middle(images)
    unlike = _unlike(images) & middle
    few = unlike.sum((1, 2)) < _LITTLE * middle.sum()
    return torch.where(few[:, None, None], middle, unlike)


def _edge(images: Tensor) -> Tensor:
    where = torch.ones(images.shape[2:], dtype=torch.bool)
    where[_EDGE:-_EDGE, _EDGE:-_EDGE] = False
    return where


def _middle(images: Tensor) -> Tensor:
    height, width = images.shape[2:]
    where = torch.zeros(height, width, dtype=torch.bool)
    where[height // 4 : -(height // 4), width // 4 : -(width // 4)] = True
    return where


def _mass(images: Tensor) -> tuple[Tensor, Tensor]:
    """How far to the right of the middle lies what is unlike the edge, [N] of the width, and its share of the area."""
    unlike, width = _unlike(images).float(), images.shape[3]
    places = (torch.arange(width) + 0.5) / width - 0.5
    total = unlike.sum((1, 2)).clamp(min=1)
    return (unlike.sum(1) * places).sum(1) / total, unlike.mean((1, 2))


def _unlike(images: Tensor) -> Tensor:
    edge = images.flatten(2)[:, :, _edge(images).flatten()].mean(2)
    unlike: Tensor = (images - edge[:, :, None, None]).norm(dim=1) > _UNLIKE
    return unlike
