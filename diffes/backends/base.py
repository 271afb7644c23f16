"""What executes subgraphs. A backend is small: encode, condition, denoise, decode, close."""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from diffes.prompts import Encoded, Rows

Conditions = Mapping[str, Tensor]


@runtime_checkable
class Backend(Protocol):
    """Runs the graphs of one opened bundle on one device. Tensors in and out are float32 on CPU or that device.

    Not thread-safe: one owner thread calls it.
    """

    @property
    def name(self) -> str:
        """The backend's word in configuration, metrics and manifests."""

    @property
    def buckets(self) -> Sequence[int]:
        """Row counts that a step is padded to; none if it is run as it comes."""

    @property
    def device(self) -> torch.device:
        """Where outputs are, and inputs best are. A GPU may still be at work on them when a call returns."""

    def encode(self, prompts: Rows) -> Encoded:
        """Prompts [P, ...] as the family takes them → what is made of them once for all steps."""

    def condition(self, timesteps: Tensor, features: Rows) -> dict[str, Tensor]:
        """timesteps [N] float32, features [N, ...] → each condition of a step [N, ...]."""

    def denoise(self, subgraph: str, latents: Tensor, conditions: Conditions) -> Tensor:
        """latents [B, C, h, w], conditions [B, ...] → the model's output like latents."""

    def decode(self, latents: Tensor) -> Tensor:
        """latents [B, C, h, w] → images [B, 3, H, W] in [-1, 1]; on a GPU perhaps on a stream beside the steps'."""

    def close(self) -> None:
        """Free sessions and memory; the backend cannot be used afterwards."""
