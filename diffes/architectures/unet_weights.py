"""A U-Net's tensors from diffusers' names and layouts to those of `unet.py`."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffes.architectures.base import Left, Weights, taken_whole
from diffes.architectures.unet_tree import Blocks, Resnet

if TYPE_CHECKING:
    from diffes.architectures.unet import UNet


def convert(unet: "UNet", state: Weights) -> dict[str, Tensor]:
    """The converted tensors; CheckpointError for a tensor that is missing, left over or of a wrong shape."""
    return taken_whole(state, lambda left: _converted(unet, left), _shapes(unet))


def _shapes(unet: "UNet") -> dict[str, tuple[int, ...]]:
    """Shapes of the converted matrices that pruning and conditions rely on."""
    shapes: dict[str, tuple[int, ...]] = {
        "conv_in.weight": (unet.levels[0].channels, unet.in_channels, 3, 3),
        "conv_out.weight": (unet.out_channels, unet.levels[0].channels, 3, 3),
        "time.weight": (unet.time_channels, unet.embedding_channels),
        "add_embedding.fc1.weight": (unet.embedding_channels, unet.pooled_channels + 6 * unet.id_channels),
    }
    for block, node in enumerate(unet.blocks):
        at, width = f"blocks.{block}", node.channels
        shapes[f"{at}.qkv.weight"] = (3 * width, width)
        shapes[f"{at}.key.weight"] = shapes[f"{at}.value.weight"] = (width, unet.text_channels)
        for name in ("query", "out", "text_out"):
            shapes[f"{at}.{name}.weight"] = (width, width)
        for name in ("hidden", "gate", "down"):
            shapes[f"{at}.{name}.weight"] = (4 * width, width)
    return shapes


def _converted(unet: "UNet", left: Left) -> dict[str, Tensor]:
    """Take what is known out of `left`."""
    out: dict[str, Tensor] = {}
    resnets = [node.name for node in unet.nodes if isinstance(node, Resnet)]
    for part in ("weight", "bias"):
        out[f"time.{part}"] = torch.cat([left.pop(f"{name}.time_emb_proj.{part}") for name in resnets])
    for node in unet.nodes:
        if isinstance(node, Blocks):
            for index, block in enumerate(node.numbers):
                out |= _block(left, f"{node.name}.transformer_blocks.{index}", f"blocks.{block}", node.heads)
    for name in ("time_embedding", "add_embedding"):
        for number in (1, 2):
            for part in ("weight", "bias"):
                out[f"{name}.fc{number}.{part}"] = left.pop(f"{name}.linear_{number}.{part}")
    kept = [name for name in unet.step_weights() if not name.startswith("blocks.")]
    return out | {name: left.pop(name) for name in kept}


def _block(left: Left, source: str, at: str, heads: int) -> dict[str, Tensor]:
    own = [left.pop(f"{source}.attn1.to_{name}.weight").unflatten(0, (heads, -1)) for name in "qkv"]
    out = {
        f"{at}.qkv.weight": torch.stack(own, 1).flatten(0, 2),
        f"{at}.query.weight": left.pop(f"{source}.attn2.to_q.weight"),
        f"{at}.key.weight": left.pop(f"{source}.attn2.to_k.weight"),
        f"{at}.value.weight": left.pop(f"{source}.attn2.to_v.weight"),
    }
    for name, attention in (("out", "attn1"), ("text_out", "attn2")):
        out[f"{at}.{name}.weight"] = left.pop(f"{source}.{attention}.to_out.0.weight").T
        out[f"{at}.{name}.bias"] = left.pop(f"{source}.{attention}.to_out.0.bias")
    for part in ("weight", "bias"):
        out[f"{at}.hidden.{part}"], out[f"{at}.gate.{part}"] = left.pop(f"{source}.ff.net.0.proj.{part}").chunk(2)
        for number in (1, 2, 3):
            out[f"{at}.norm{number}.{part}"] = left.pop(f"{source}.norm{number}.{part}")
    out[f"{at}.down.weight"] = left.pop(f"{source}.ff.net.2.weight").T
    out[f"{at}.down.bias"] = left.pop(f"{source}.ff.net.2.bias")
    return out
