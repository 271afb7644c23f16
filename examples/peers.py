"""Processes that train one model together, each on its part of every batch, as torchrun starts them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed


@dataclass(frozen=True)
class Peers:
    """This process among all; alone, nothing is exchanged."""

    rank: int = 0
    count: int = 1

    @classmethod
    @contextmanager
    def gathered(cls) -> Iterator[Peers]:
        """The processes torchrun started, or this one alone; they part at the end of the block."""
        if "WORLD_SIZE" not in os.environ:
            yield cls()
            return
        distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
        try:
            yield cls(distributed.get_rank(), distributed.get_world_size())
        finally:
            distributed.destroy_process_group()

    @property
    def first(self) -> bool:
        """Whether this process writes files and speaks for all."""
        return self.rank == 0

    def device(self, wanted: str) -> torch.device:
        """`wanted`; a GPU of its own for each process where `cuda` names none."""
        if wanted == "cuda" and self.count > 1:
            return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        return torch.device(wanted)

    def part(self, batch: Tensor) -> Tensor:
        """This process's rows of a batch that all of them drew alike."""
        return batch[self.rank :: self.count]

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replaces each tensor by its mean over the processes."""
        if self.count == 1:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        distributed.all_reduce(flat)
        flat /= self.count
        for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor))

    def meet(self) -> None:
        """Goes on when all are here."""
        if self.count > 1:
            distributed.barrier()

    def agreed(self, number: float) -> float:
        """The first process's number: clocks differ, a decision must not."""
        if self.count == 1:
            return number
        shared = torch.tensor(number, dtype=torch.float64)
        distributed.broadcast(shared, src=0)
        return float(shared)
