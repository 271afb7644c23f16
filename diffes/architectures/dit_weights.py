"""A DiT's tensors from diffusers' names and layouts to those of `dit.py`."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffes.architectures.base import Weights, taken_whole
from diffes.errors import CheckpointError

if TYPE_CHECKING:
    from diffes.architectures.dit import DiT


def convert(dit: "DiT", state: Weights) -> dict[str, Tensor]:
    """The converted tensors; CheckpointError for a tensor that is missing, left over or of a wrong shape."""
    return taken_whole(state, lambda left: _converted(dit, left), _shapes(dit))


def _shapes(dit: "DiT") -> dict[str, tuple[int, ...]]:
    """Shapes of the converted matrices."""
    width, pixels = dit.width, dit.patch**2 * dit.latent_channels
    shapes: dict[str, tuple[int, ...]] = {
        "patch.weight": (width, pixels),
        "pos_embed": (dit.tokens, width),
        "final.weight": (pixels, width),
        "ada.weight": (dit.depth * 6 * width, width),
        "final_ada.weight": (2 * width, width),
        "embedder.labels": (dit.classes + 1, width),
    }
    for block in range(dit.depth):
        shapes[f"blocks.{block}.qkv.weight"] = (3 * width, width)
        shapes[f"blocks.{block}.out.weight"] = (width, width)
        shapes[f"blocks.{block}.fc1.weight"] = (dit.channels, width)
        shapes[f"blocks.{block}.fc2.weight"] = (dit.channels, width)
    return shapes


def _converted(dit: "DiT", left: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take what is known out of `left`."""
    take = left.pop
    out: dict[str, Tensor] = {
        "patch.weight": take("pos_embed.proj.weight").flatten(1),
        "patch.bias": take("pos_embed.proj.bias"),
        "pos_embed": _position_embedding(dit, left),
        "final.weight": _predicted_rows(dit, take("proj_out_2.weight")),
        "final.bias": _predicted_rows(dit, take("proj_out_2.bias")),
        "final_ada.weight": take("proj_out_1.weight"),
        "final_ada.bias": take("proj_out_1.bias"),
    }
    ada = [f"transformer_blocks.{i}.norm1.linear" for i in range(dit.depth)]
    out["ada.weight"] = torch.cat([take(f"{name}.weight") for name in ada])
    out["ada.bias"] = torch.cat([take(f"{name}.bias") for name in ada])
    out.update(_embedder(dit, left))
    for block in range(dit.depth):
        out.update(_block(dit, left, block))
    return out


def _block(dit: "DiT", left: dict[str, Tensor], block: int) -> dict[str, Tensor]:
    source, at = f"transformer_blocks.{block}", f"blocks.{block}"
    qkv = [f"{source}.attn1.to_{name}" for name in "qkv"]

    def head_major(tensors: list[Tensor]) -> Tensor:
        per_head = [t.unflatten(0, (dit.heads, dit.head_dim)) for t in tensors]
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


def _embedder(dit: "DiT", left: dict[str, Tensor]) -> dict[str, Tensor]:
    """The one timestep and label embedder; diffusers keeps a copy of it in every block."""
    names = {
        "fc1.weight": "timestep_embedder.linear_1.weight",
        "fc1.bias": "timestep_embedder.linear_1.bias",
        "fc2.weight": "timestep_embedder.linear_2.weight",
        "fc2.bias": "timestep_embedder.linear_2.bias",
        "labels": "class_embedder.embedding_table.weight",
    }
    out = {}
    for name, source in names.items():
        copies = [left.pop(f"transformer_blocks.{i}.norm1.emb.{source}") for i in range(dit.depth)]
        if not all(torch.equal(copy, copies[0]) for copy in copies):
            raise CheckpointError(
                f"the blocks' copies of {source} differ",
                expected="one embedder shared by all blocks, as in the original DiT",
                found="separately trained embedders",
                remedy="Tie them in training (examples/train_cifar10_dit.py shows how).",
            )
        out[f"embedder.{name}"] = copies[0]
    return out


def _predicted_rows(dit: "DiT", projection: Tensor) -> Tensor:
    """Rows that predict the noise; a learned variance has no use in a deterministic sampler."""
    grouped: Tensor = projection.unflatten(0, (dit.patch**2, dit.out_channels))
    return grouped[:, : dit.latent_channels].flatten(0, 1)


def _position_embedding(dit: "DiT", left: dict[str, Tensor]) -> Tensor:
    """Stored in some checkpoints, computed in others: diffusers' fixed 2-D sine-cosine table."""
    if "pos_embed.pos_embed" in left:
        return left.pop("pos_embed.pos_embed").flatten(0, 1)
    from diffusers.models.embeddings import get_2d_sincos_pos_embed  # takes seconds; a bundle never needs it

    side = dit.sample_size // dit.patch
    table = get_2d_sincos_pos_embed(dit.width, side, base_size=side, output_type="pt")
    flat: Tensor = torch.as_tensor(table, dtype=torch.float32)
    return flat.reshape(dit.tokens, dit.width)
