"""Large images decoded tile by tile: memory grows with a tile, not with the image.

Tiles, their overlap of a quarter, and how they are blended are diffusers' (`AutoencoderKL.enable_tiling`). A tile is
blended as the decoder leaves it, cut to [-1, 1]; diffusers cuts after.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

OVERLAP = 4  # a tile's side is so many times what it shares with its neighbour; sides are multiples of it


def in_tiles(decode: Callable[[Tensor], Tensor], latents: Tensor, tile: int | None) -> Tensor:
    """latents [B, C, h, w] → images [B, 3, H, W], decoded in tiles of `tile` latents a side if there are more a side.

    Tiles at the lower and right edges are as small as what is left.
    """
    height, width = latents.shape[2:]
    if tile is None or max(height, width) <= tile:
        return decode(latents)
    above: list[Tensor] = []
    rows = []
    for top in _starts(height, tile):
        row: list[Tensor] = []
        for column, left in enumerate(_starts(width, tile)):
            part = latents[:, :, top : top + tile, left : left + tile]
            image = decode(part)
            shared = tile * (image.shape[2] // part.shape[2]) // OVERLAP
            if above:
                image = _blended(above[column], image, shared, 2)
            if row:
                image = _blended(row[-1], image, shared, 3)
            row.append(image)
        kept = (OVERLAP - 1) * shared
        rows.append(torch.cat([image[:, :, :kept, :kept] for image in row], 3))
        above = row
    return torch.cat(rows, 2)


def _starts(side: int, tile: int) -> Iterator[int]:
    yield from range(0, side, tile - tile // OVERLAP)


def _blended(before: Tensor, image: Tensor, shared: int, axis: int) -> Tensor:
    """The image, whose first `shared` pixels along an axis begin as what ends the one before."""
    shared = min(shared, before.shape[axis], image.shape[axis])
    shape = [1, 1, 1, 1]
    shape[axis] = shared
    share = (torch.arange(shared, device=image.device, dtype=image.dtype) / shared).view(shape)
    ending = before.narrow(axis, before.shape[axis] - shared, shared)
    beginning, rest = image.split([shared, image.shape[axis] - shared], axis)
    return torch.cat([ending * (1 - share) + beginning * share, rest], axis)
