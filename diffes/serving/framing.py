"""How an image was cut, in the fields that both APIs take: diffusers' names, sizes as everywhere here."""

from typing import Annotated, Protocol

from pydantic import Field

from diffes.errors import InvalidInput
from diffes.serving.bodies import Name
from diffes.sizes import WHOLE, Framing, Size

_Cut = Annotated[int, Field(ge=0, lt=1_000_000)]  # as far as sizes go

OriginalSize = Annotated[
    Name | None,
    Field(description="Of a model like SDXL: WIDTHxHEIGHT of the picture before it was cut; default: the image's."),
]
Crop = Annotated[
    Annotated[list[_Cut], Field(min_length=2, max_length=2)] | None,
    Field(description="Rows and columns cut off above and to the left; default: [0, 0]."),
]
TargetSize = Annotated[Name | None, Field(description="WIDTHxHEIGHT it was cut to; default: the image's.")]
OtherOriginalSize = Annotated[
    Name | None,
    Field(description="The same, told where guidance leads away from; only with negative_target_size."),
]
OtherTargetSize = Annotated[Name | None, Field(description="Only with negative_original_size.")]


class Framed(Protocol):
    """A body with these fields."""

    @property
    def original_size(self) -> str | None: ...
    @property
    def crops_coords_top_left(self) -> list[int] | None: ...
    @property
    def target_size(self) -> str | None: ...
    @property
    def negative_original_size(self) -> str | None: ...
    @property
    def negative_crops_coords_top_left(self) -> list[int] | None: ...
    @property
    def negative_target_size(self) -> str | None: ...


def wanted(body: Framed) -> Framing:
    """Of what is wanted; InvalidInput for what is no size."""
    return Framing(
        _size("original_size", body.original_size),
        _pair(body.crops_coords_top_left),
        _size("target_size", body.target_size),
    )


def unwanted(body: Framed) -> Framing | None:
    """Of what guidance leads away from; None if it is that of what is wanted, as of diffusers' pipelines.

    They take no notice of one size without the other; here that is InvalidInput.
    """
    framing = Framing(
        _size("negative_original_size", body.negative_original_size),
        _pair(body.negative_crops_coords_top_left),
        _size("negative_target_size", body.negative_target_size),
    )
    if framing == WHOLE:
        return None
    for field, size in (("negative_original_size", framing.original), ("negative_target_size", framing.target)):
        if size is None:
            expected = "a size: negative_original_size and negative_target_size are given together"
            raise InvalidInput(field, expected=expected, found="nothing")
    return framing


def _size(field: str, text: str | None) -> Size | None:
    return None if text is None else Size.read(text, field)


def _pair(cut: list[int] | None) -> tuple[int, int] | None:
    return None if cut is None else (cut[0], cut[1])
