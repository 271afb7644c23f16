"""A DiT's tensors from diffusers' names and layouts to those of `dit.py`."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffes.architectures.adaln_weights import block_of, ends_of, matrix_shapes
from diffes.architectures.base import Left, Weights, taken_whole
from diffes.errors import CheckpointError

if TYPE_CHECKING:
    from diffes.architectures.dit import DiT


def convert(dit: "DiT", state: Weights) -> dict[str, Tensor]:
    """The converted tensors; CheckpointError for a tensor that is missing, left over or of a wrong shape."""
    return taken_whole(state, lambda left: _converted(dit, left), _shapes(dit))


def _shapes(dit: "DiT") -> dict[str, tuple[int, ...]]:
    width = dit.width
    return matrix_shapes(dit) | {
        "ada.weight": (dit.depth * 6 * width, width),
        "final_ada.weight": (2 * width, width),
        "embedder.labels": (dit.classes + 1, width),
    }


def _converted(dit: "DiT", left: Left) -> dict[str, Tensor]:
    """Take what is known out of `left`."""
    out = ends_of(dit, left, "proj_out_2")
    ada = [f"transformer_blocks.{i}.norm1.linear" for i in range(dit.depth)]
    for part in ("weight", "bias"):
        out[f"final_ada.{part}"] = left.pop(f"proj_out_1.{part}")
        out[f"ada.{part}"] = torch.cat([left.pop(f"{name}.{part}") for name in ada])
    out.update(_embedder(dit, left))
    for block in range(dit.depth):
        out.update(block_of(dit, left, block))
    return out


def _embedder(dit: "DiT", left: Left) -> dict[str, Tensor]:
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
