"""Tensors as a step has them. Kernels run in Triton's interpreter, or with TRITON_INTERPRET=0 on a GPU."""

import os

import torch
from torch import Tensor

from diffes.kernels.plain import Norm

DEVICE = "cpu" if os.environ["TRITON_INTERPRET"] == "1" else "cuda"
TOKENS = 5


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard normal numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE, dtype)


def step(rows: int, width: int = 24, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Norm]:
    """x [rows, TOKENS, width], gate and norm cut from all blocks' conditions, whose rows lie apart."""
    x = normal(rows, TOKENS, width, seed=rows, dtype=dtype) * 3 + 1
    modulation = normal(rows, 2, 6, width, seed=rows + 1, dtype=dtype)
    shift, scale, gate = modulation[:, 1].split(1, 1)[:3]
    return x, gate, Norm(scale, shift, torch.ones(width, device=DEVICE, dtype=dtype), 1e-5)
