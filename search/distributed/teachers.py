"""A teacher in a file, so that no worker rolls the dense model out by itself and finds other roundings."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from diffes.files import atomic_path
from diffes.prompts import Prompts
from diffes.rollout import State
from search.rollouts import Teacher


def save_teacher(teacher: Teacher, path: Path) -> None:
    """Write prompts, states and last latents, bit for bit, as one safetensors file."""
    tensors = {"final": teacher.final}
    for branch, rows in (("wanted", teacher.prompts.wanted), ("unwanted", teacher.prompts.unwanted)):
        tensors |= {f"{branch}.{name}": tensor for name, tensor in rows.items()}
    for index, state in teacher.states.items():
        tensors |= {f"{index}.latents": state.latents, f"{index}.clean": state.clean}
    with atomic_path(path) as temporary:
        save_file({name: tensor.cpu().clone().contiguous() for name, tensor in tensors.items()}, temporary)


def load_teacher(path: Path, device: torch.device) -> Teacher:
    """Read it onto a device."""
    tensors = {name: tensor.to(device) for name, tensor in load_file(path).items()}
    indices = sorted(int(name.removesuffix(".clean")) for name in tensors if name.endswith(".clean"))
    states = {i: State(i, tensors[f"{i}.latents"], tensors[f"{i}.clean"]) for i in indices}
    wanted, unwanted = (
        {name.removeprefix(branch): tensor for name, tensor in tensors.items() if name.startswith(branch)}
        for branch in ("wanted.", "unwanted.")
    )
    return Teacher(Prompts(wanted, unwanted), states, tensors["final"])
