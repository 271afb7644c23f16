"""A PixArt's tensors from diffusers' names and layouts to those of `pixart.py`."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffes.architectures.adaln_weights import block_of, ends_of, matrix_shapes
from diffes.architectures.base import Left, Weights, taken_whole

if TYPE_CHECKING:
    from diffes.architectures.pixart import PixArt


_EMBEDDER = "adaln_single.emb.timestep_embedder"
_CAPTION = "caption_projection"
_SIZES = {
    "resolution": "adaln_single.emb.resolution_embedder",
    "aspect_ratio": "adaln_single.emb.aspect_ratio_embedder",
}


def convert(pixart: "PixArt", state: Weights) -> dict[str, Tensor]:
    """The converted tensors; CheckpointError for a tensor that is missing, left over or of a wrong shape."""
    return taken_whole(state, lambda left: _converted(pixart, left), _shapes(pixart))


def _shapes(pixart: "PixArt") -> dict[str, tuple[int, ...]]:
    width = pixart.width
    shapes = matrix_shapes(pixart) | {
        "ada.weight": (6 * width, width),
        "tables": (pixart.depth, 6, width),
        "final_table": (2, width),
        "caption.fc1.weight": (width, pixart.caption_channels),
    }
    names = ("query", "key", "value", "text_out")
    return shapes | {f"blocks.{i}.{name}.weight": (width, width) for i in range(pixart.depth) for name in names}


def _converted(pixart: "PixArt", left: Left) -> dict[str, Tensor]:
    """Take what is known out of `left`."""
    out = ends_of(pixart, left, "proj_out", pixart.position_scale)
    out["final_table"] = left.pop("scale_shift_table")
    out["tables"] = torch.stack([left.pop(f"transformer_blocks.{i}.scale_shift_table") for i in range(pixart.depth)])
    for part in ("weight", "bias"):
        out[f"ada.{part}"] = left.pop(f"adaln_single.linear.{part}")
    embedders = {"embedder": _EMBEDDER, "caption": _CAPTION, **(_SIZES if pixart.sized else {})}
    for name, source in embedders.items():
        for number in (1, 2):
            for part in ("weight", "bias"):
                out[f"{name}.fc{number}.{part}"] = left.pop(f"{source}.linear_{number}.{part}")
    for block in range(pixart.depth):
        out |= block_of(pixart, left, block) | _text_attention(left, block)
    return out


def _text_attention(left: Left, block: int) -> dict[str, Tensor]:
    source, at = f"transformer_blocks.{block}.attn2", f"blocks.{block}"
    out = {
        f"{at}.{name}.{part}": left.pop(f"{source}.to_{name[0]}.{part}")
        for name in ("query", "key", "value")
        for part in ("weight", "bias")
    }
    out[f"{at}.text_out.weight"] = left.pop(f"{source}.to_out.0.weight").T
    out[f"{at}.text_out.bias"] = left.pop(f"{source}.to_out.0.bias")
    return out
