"""Instant arithmetic in place of a model, for tests of what stands around a backend."""

import hashlib
from dataclasses import dataclass, field

import torch
from torch import Tensor

from diffes.backends.base import Conditions
from diffes.errors import BackendError
from diffes.prompts import Encoded, Rows


@dataclass(frozen=True, slots=True)
class Call:
    """One call that a fake backend has seen."""

    method: str
    subgraph: str | None
    rows: int


@dataclass
class FakeBackend:
    """Deterministic, row by row: a row's output depends on its own inputs and the subgraph's id, on nothing else.

    `calls` records what was asked, in order.
    """

    name: str = "fake"
    calls: list[Call] = field(default_factory=list)
    closed: bool = False
    buckets: tuple[int, ...] = ()
    device: torch.device = torch.device("cpu")

    def encode(self, prompts: Rows) -> Encoded:
        """labels [P] int64 → the same, and `class` [P, 1], one more."""
        return Encoded(prompts, {"class": prompts["labels"].float()[:, None] + 1})

    def condition(self, timesteps: Tensor, features: Rows) -> dict[str, Tensor]:  # noqa: ARG002
        """timesteps [N] float32 → `time` [N, 1]."""
        self._record("condition", None, timesteps)
        return {"time": timesteps.float()[:, None] / 1000}

    def denoise(self, subgraph: str, latents: Tensor, conditions: Conditions) -> Tensor:
        """latents [B, C, h, w], conditions [B, ...] → like latents: 0.1 x + what label, time and subgraph add."""
        self._record("denoise", subgraph, latents)
        timestep, label = conditions["time"][:, 0], conditions["class"][:, 0]
        pull = (0.01 * label + 0.001 * timestep + _share(subgraph)).view(-1, 1, 1, 1)
        return 0.1 * latents + pull

    def decode(self, latents: Tensor) -> Tensor:
        """latents [B, C, h, w] → the same in [-1, 1]."""
        self._record("decode", None, latents)
        return latents.clamp(-1, 1)

    def close(self) -> None:
        """Refuse further calls."""
        self.closed = True

    def _record(self, method: str, subgraph: str | None, rows: Tensor) -> None:
        if self.closed:
            raise BackendError("the backend is closed", expected="an open backend", found="closed")
        self.calls.append(Call(method, subgraph, len(rows)))


def _share(subgraph: str) -> float:
    """A number in [0, 0.1) that a subgraph's id stands for."""
    return int.from_bytes(hashlib.sha256(subgraph.encode()).digest()[:4], "big") / 2**32 / 10
