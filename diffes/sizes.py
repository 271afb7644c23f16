"""Sizes of images as callers say them: WIDTHxHEIGHT, in pixels."""

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
    def read(cls, text: str) -> "Size":
        """WIDTHxHEIGHT; InvalidInput for anything else."""
        found = _FORM.fullmatch(text)
        if found is None:
            raise InvalidInput("size", expected="WIDTHxHEIGHT in pixels, such as 1024x768", found=repr(text[:100]))
        return cls(int(found[2]), int(found[1]))
