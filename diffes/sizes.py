"""Sizes of images as callers say them, WIDTHxHEIGHT, in pixels, and how images were cut."""

import re
from typing import NamedTuple

from diffes.errors import InvalidInput

_FORM = re.compile(r"([1-9]\d{0,5})x([1-9]\d{0,5})", re.ASCII)


class Size(NamedTuple):
    """Height and width, in pixels."""

    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"

    @classmethod
    def read(cls, text: str, field: str = "size") -> "Size":
        """WIDTHxHEIGHT; InvalidInput for anything else."""
        found = _FORM.fullmatch(text)
        if found is None:
            raise InvalidInput(field, expected="WIDTHxHEIGHT in pixels, such as 1024x768", found=repr(text[:100]))
        return cls(int(found[2]), int(found[1]))


class Framing(NamedTuple):
    """What a picture was before it became one of a model's images (SDXL, arXiv 2307.01952, section 2.2).

    `original` is its size then, `cropped` how many rows and columns were cut off above and to the left, `target` the
    size it was cut to. A size that is None is the image's own.
    """

    original: Size | None = None
    cropped: tuple[int, int] | None = None
    target: Size | None = None

    def of(self, size: Size) -> tuple[int, ...]:
        """Heights before widths: original size, crop, target size, of an image of that size."""
        return *(self.original or size), *(self.cropped or (0, 0)), *(self.target or size)

    def said(self, prefix: str = "") -> dict[str, str | tuple[int, int]]:
        """What its caller gave, by diffusers' names."""
        sizes = {"original_size": self.original, "target_size": self.target}
        told: dict[str, str | tuple[int, int]] = {
            f"{prefix}{name}": str(size) for name, size in sizes.items() if size is not None
        }
        return told if self.cropped is None else {**told, f"{prefix}crops_coords_top_left": self.cropped}


WHOLE = Framing()  # nothing was cut, and the picture had the image's size from the start
