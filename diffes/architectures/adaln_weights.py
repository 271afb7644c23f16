"""What transformers on patches share of the way from diffusers' names and layouts to those of `adaln.py`."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffes.architectures.base import Left

if TYPE_CHECKING:
    from diffes.architectures.adaln import AdaLNTransformer


def matrix_shapes(transformer: "AdaLNTransformer") -> dict[str, tuple[int, ...]]:
    """Shapes of the converted matrices."""
    width, pixels = transformer.width, transformer.patch**2 * transformer.latent_channels
    shapes: dict[str, tuple[int, ...]] = {
        "patch.weight": (width, pixels),
        "pos_embed": (transformer.tokens, width),
        "final.weight": (pixels, width),
    }
    for block in range(transformer.depth):
        shapes[f"blocks.{block}.qkv.weight"] = (3 * width, width)
        shapes[f"blocks.{block}.out.weight"] = (width, width)
        shapes[f"blocks.{block}.fc1.weight"] = (transformer.channels, width)
        shapes[f"blocks.{block}.fc2.weight"] = (transformer.channels, width)
    return shapes


def ends_of(
    transformer: "AdaLNTransformer", left: Left, projection: str, position_scale: float = 1
) -> dict[str, Tensor]:
    """What a step reads before its blocks and behind them; diffusers calls its last layer `projection`."""
    return {
        "patch.weight": left.pop("pos_embed.proj.weight").flatten(1),
        "patch.bias": left.pop("pos_embed.proj.bias"),
        "pos_embed": _position_embedding(transformer, left, position_scale),
        "final.weight": _predicted_rows(transformer, left.pop(f"{projection}.weight")),
        "final.bias": _predicted_rows(transformer, left.pop(f"{projection}.bias")),
    }


def block_of(transformer: "AdaLNTransformer", left: Left, block: int) -> dict[str, Tensor]:
    """What all families have of a transformer block."""
    source, at = f"transformer_blocks.{block}", f"blocks.{block}"
    qkv = [f"{source}.attn1.to_{name}" for name in "qkv"]

    def head_major(tensors: list[Tensor]) -> Tensor:
        per_head = [t.unflatten(0, (transformer.heads, transformer.head_dim)) for t in tensors]
        return torch.stack(per_head, dim=1).flatten(0, 2)

    return {
        f"{at}.qkv.weight": head_major([left.pop(f"{name}.weight") for name in qkv]),
        f"{at}.qkv.bias": head_major([left.pop(f"{name}.bias") for name in qkv]),
        f"{at}.out.weight": left.pop(f"{source}.attn1.to_out.0.weight").T,
        f"{at}.out.bias": left.pop(f"{source}.attn1.to_out.0.bias"),
        f"{at}.fc1.weight": left.pop(f"{source}.ff.net.0.proj.weight"),
        f"{at}.fc1.bias": left.pop(f"{source}.ff.net.0.proj.bias"),
        f"{at}.fc2.weight": left.pop(f"{source}.ff.net.2.weight").T,
        f"{at}.fc2.bias": left.pop(f"{source}.ff.net.2.bias"),
    }


def _predicted_rows(transformer: "AdaLNTransformer", projection: Tensor) -> Tensor:
    """Rows that predict the noise; a learned variance has no use in a deterministic sampler."""
    grouped: Tensor = projection.unflatten(0, (transformer.patch**2, transformer.out_channels))
    return grouped[:, : transformer.latent_channels].flatten(0, 1)


def _position_embedding(transformer: "AdaLNTransformer", left: Left, scale: float) -> Tensor:
    """Stored in some checkpoints, computed in others: diffusers' fixed 2-D sine-cosine table."""
    if "pos_embed.pos_embed" in left:
        return left.pop("pos_embed.pos_embed").flatten(0, 1)
    from diffusers.models.embeddings import get_2d_sincos_pos_embed  # takes seconds; a bundle never needs it

    side = transformer.sample_size // transformer.patch
    table = get_2d_sincos_pos_embed(
        transformer.width, side, base_size=side, interpolation_scale=scale, output_type="pt"
    )
    flat: Tensor = torch.as_tensor(table, dtype=torch.float32)
    return flat.reshape(transformer.tokens, transformer.width)
