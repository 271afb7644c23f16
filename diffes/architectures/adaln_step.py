"""One step of a transformer on patches whose norms are modulated, on tensors cut to a stage plan.

It takes `modulation` [B, L, 6, D], of each block shift, scale and gate of attention, then of the MLP, and
`final_modulation` [B, 2, D], with the 1 of (1 + scale) already added.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from diffes.architectures.adaln import AdaLNTransformer
from diffes.architectures.base import Entry, Tap, Weights, branch_offset, parameters_of
from diffes.kernels import Branch, Norm, gated_norm, gelu_linear, linear, modulated_norm, self_attention
from diffes.schedule import StagePlan

ADA_NORM_EPS = 1e-6  # of AdaLayerNormZero and of the last norm; the MLP's norm uses the config's


class AdaLNStep(nn.Module):
    """One denoising step of one stage plan."""

    tap: Tap | None = None
    entry: Entry | None = None

    def __init__(self, transformer: AdaLNTransformer, plan: StagePlan, weights: Weights) -> None:
        super().__init__()
        self.transformer = transformer
        self.plan = plan
        self.weights = parameters_of(weights)
        # LayerNorm's weight must be given in ONNX; one constant instead of one made for every norm
        self.register_buffer("ones", torch.ones_like(weights["patch.bias"]), persistent=False)

    def forward(self, latents: Tensor, modulation: Tensor, final_modulation: Tensor) -> Tensor:
        """latents [B, C, h, w], modulation [B, L, 6, D], final_modulation [B, 2, D] → like latents."""
        return self.resume(0, self._patchify(latents), modulation, final_modulation)

    def resume(self, first: int, x: Tensor, modulation: Tensor, final_modulation: Tensor, **others: Tensor) -> Tensor:
        """The rest of a step from block `first` on, whose input is x [B, tokens, D]; a family may take others."""
        w: Any = self.weights
        # of each block shift, scale and gate of attention, then of the MLP: six of [B, 1, D]
        modulations = [modulation[:, index].split(1, 1) for index in range(first, len(self.plan))]
        norms = self._norms(modulations, final_modulation)
        h = modulated_norm(x, next(norms))
        for index, (_, _, gate1, _, _, gate2) in enumerate(modulations, first):
            if self.entry is not None:
                self.entry(index, x)
            at, block = w.blocks.get_submodule(str(index)), self.plan[index]
            attention = self._attention(h, at, index, block.heads)
            x, h = self._between(x, gate1, attention, next(norms), index, others)
            x, h = gated_norm(x, gate2, self._mlp(h, at, index, block.channels), next(norms))
        return self._unpatchify(linear(h.flatten(0, 1), w.final.weight, w.final.bias))

    def _between(
        self,
        x: Tensor,
        gate: Tensor,
        attention: Branch,
        norm: Norm,
        index: int,  # noqa: ARG002 - for families that do more here
        others: Mapping[str, Tensor],  # noqa: ARG002
    ) -> tuple[Tensor, Tensor]:
        """From a block's attention to its MLP: what is there with it, and the MLP's entry."""
        return gated_norm(x, gate, attention, norm)

    def _norms(self, modulations: Sequence[tuple[Tensor, ...]], final_modulation: Tensor) -> Iterator[Norm]:
        """The norm before every half, and the one after the last."""
        ones = self.get_buffer("ones")
        for shift1, scale1, _, shift2, scale2, _ in modulations:
            yield Norm(scale1, shift1, ones, ADA_NORM_EPS)
            yield Norm(scale2, shift2, ones, self.transformer.mlp_norm_eps)
        shift, scale = final_modulation.split(1, 1)
        yield Norm(scale, shift, ones, ADA_NORM_EPS)

    def _attention(self, h: Tensor, at: Any, index: int, heads: int) -> Branch:
        entry = h.flatten(0, 1)  # [B*tokens, D]
        if heads == 0:
            return Branch(branch_offset(entry, at.out))
        qkv = linear(entry, at.qkv.weight, at.qkv.bias)
        mixed = self_attention(qkv, (h.shape[0], self.transformer.tokens), self.transformer.head_dim)
        return self._branch(mixed, entry, at.out, f"blocks.{index}.out.weight")

    def _mlp(self, h: Tensor, at: Any, index: int, channels: int) -> Branch:
        entry = h.flatten(0, 1)  # [B*tokens, D]
        if channels == 0:
            return Branch(branch_offset(entry, at.fc2))
        hidden = gelu_linear(entry, at.fc1.weight, at.fc1.bias)
        return self._branch(hidden, entry, at.fc2, f"blocks.{index}.fc2.weight")

    def _branch(self, inputs: Tensor, entry: Tensor, layer: Any, name: str) -> Branch:
        if self.tap is not None:
            self.tap(name, inputs, entry)
        return Branch(branch_offset(entry, layer), inputs, layer.weight)

    def _patchify(self, latents: Tensor) -> Tensor:
        side, p = self.transformer.sample_size // self.transformer.patch, self.transformer.patch
        patches = latents.reshape(-1, self.transformer.latent_channels, side, p, side, p)
        patches = patches.permute(0, 2, 4, 1, 3, 5).reshape(-1, self.transformer.latent_channels * p * p)
        w: Any = self.weights
        positions: Tensor = w.pos_embed
        return linear(patches, w.patch.weight, w.patch.bias).view(-1, *positions.shape) + positions

    def _unpatchify(self, patches: Tensor) -> Tensor:
        side, p, c = (
            self.transformer.sample_size // self.transformer.patch,
            self.transformer.patch,
            self.transformer.latent_channels,
        )
        pixels = patches.view(-1, side, side, p, p, c).permute(0, 5, 1, 3, 2, 4)
        return pixels.reshape(-1, c, side * p, side * p)
