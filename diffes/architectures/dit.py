"""DiT (Peebles & Xie, arXiv 2212.09748) as diffusers' `DiTTransformer2DModel` stores it.

Names and layouts (D model width, H heads of size d, F MLP channels, L blocks, p patch, C latent channels):

    patch.weight              [D, C*p*p]         blocks.i.qkv.weight    [H*3*d, D]   head-major: [head][q|k|v][d]
    pos_embed                 [tokens, D]        blocks.i.out.weight    [H*d, D]     (in, out)
    final.weight              [p*p*C, D]         blocks.i.fc1.weight    [F, D]
    embedder.fc1|fc2, embedder.labels            blocks.i.fc2.weight    [F, D]       (in, out)
    ada.weight [L*6*D, D], final_ada.weight [2*D, D]: read by the condition alone

adaLN's modulation depends on timestep and label only, so the condition computes it for all steps of a request at
once, with the 1 of (1 + scale) already added; the step takes `modulation` [B, L, 6, D] and `final_modulation`
[B, 2, D].
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from diffes.architectures.base import (
    Entry,
    PrunableLayer,
    Tap,
    Weights,
    parameters_of,
    require_keys,
)
from diffes.architectures.dit_condition import DiTCondition
from diffes.architectures.dit_weights import convert
from diffes.errors import CheckpointError
from diffes.kernels import Branch, Norm, gated_norm, gelu_linear, linear, modulated_norm, self_attention
from diffes.prompts import Prompts, Rows, RowSpec
from diffes.schedule import BlockPlan, StagePlan

_MLP_NORM_EPS = 1e-5  # of configs that name none, as in diffusers
_ADA_NORM_EPS = 1e-6  # of AdaLayerNormZero and of the last norm; the MLP's norm uses the config's


@dataclass(frozen=True)
class DiT:
    """One DiT as its `transformer/config.json` describes it."""

    heads: int
    head_dim: int
    channels: int  # of the MLP
    depth: int
    patch: int
    latent_channels: int
    out_channels: int
    sample_size: int
    classes: int
    mlp_norm_eps: float

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "DiT":
        """Read diffusers' config; CheckpointError for variants this family does not cover."""
        supported = {
            "norm_type": "ada_norm_zero",
            "activation_fn": "gelu-approximate",
            "attention_bias": True,
            "norm_elementwise_affine": False,
        }
        require_keys(config, supported, "DiT")
        dit = cls._of(config)
        if dit.out_channels not in (dit.latent_channels, 2 * dit.latent_channels):
            raise CheckpointError(
                "DiT config has unsupported out_channels",
                expected=f"{dit.latent_channels} (noise) or {2 * dit.latent_channels} (noise and variance)",
                found=dit.out_channels,
            )
        if dit.sample_size % dit.patch:
            raise CheckpointError(
                "DiT config cannot be cut into patches",
                expected=f"a sample_size divisible by {dit.patch}",
                found=dit.sample_size,
            )
        return dit

    @classmethod
    def _of(cls, config: Mapping[str, Any]) -> "DiT":
        sizes = ("num_attention_heads", "attention_head_dim", "num_layers", "patch_size", "in_channels", "sample_size")
        for key in (*sizes, "num_embeds_ada_norm"):
            if not isinstance(config.get(key), int) or config[key] < 1:
                raise CheckpointError(f"DiT config has no {key}", expected="a count", found=config.get(key))
        width = config["num_attention_heads"] * config["attention_head_dim"]
        return cls(
            heads=config["num_attention_heads"],
            head_dim=config["attention_head_dim"],
            channels=4 * width,
            depth=config["num_layers"],
            patch=config["patch_size"],
            latent_channels=config["in_channels"],
            out_channels=config.get("out_channels") or config["in_channels"],
            sample_size=config["sample_size"],
            classes=config["num_embeds_ada_norm"],
            mlp_norm_eps=config.get("norm_eps", _MLP_NORM_EPS),
        )

    @property
    def width(self) -> int:
        """Model width D."""
        return self.heads * self.head_dim

    @property
    def tokens(self) -> int:
        """Patches of one image."""
        return (self.sample_size // self.patch) ** 2

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height, width of one image's latents."""
        return self.latent_channels, self.sample_size, self.sample_size

    @property
    def dense(self) -> StagePlan:
        """The plan that keeps everything."""
        return (BlockPlan(self.heads, self.channels),) * self.depth

    @property
    def layers(self) -> tuple[PrunableLayer, ...]:
        """Attention and MLP of every block."""
        return tuple(layer for block in range(self.depth) for layer in self._layers_of(block))

    def _layers_of(self, block: int) -> tuple[PrunableLayer, PrunableLayer]:
        at = f"blocks.{block}"
        attention = PrunableLayer(
            block=block,
            kind="heads",
            units=self.heads,
            width=self.head_dim,
            sliced=(f"{at}.qkv.weight", f"{at}.qkv.bias"),
            projection=f"{at}.out.weight",
            bias=f"{at}.out.bias",
            entry=self.width,
            outputs=self.width,
            rows=self.tokens,
        )
        mlp = PrunableLayer(
            block=block,
            kind="channels",
            units=self.channels,
            width=1,
            sliced=(f"{at}.fc1.weight", f"{at}.fc1.bias"),
            projection=f"{at}.fc2.weight",
            bias=f"{at}.fc2.bias",
            entry=self.width,
            outputs=self.width,
            rows=self.tokens,
        )
        return attention, mlp

    def macs(self, plan: StagePlan) -> int:
        """Multiply-accumulates of one row of one step."""
        tokens, width = self.tokens, self.width
        per_head = tokens * self.head_dim * (4 * width + 2 * tokens)
        per_channel = tokens * 2 * width
        pixels = self.patch**2 * self.latent_channels
        ends = tokens * width * pixels * 2
        return ends + sum(b.heads * per_head + b.channels * per_channel for b in plan)

    def parameters(self, plan: StagePlan) -> int:
        """Numbers the denoiser of a plan reads; a skipped half leaves its bias."""
        width, pixels = self.width, self.patch**2 * self.latent_channels
        ends = width * (pixels + 1) + self.tokens * width + pixels * (width + 1)
        per_head = self.head_dim * (3 * (width + 1) + width)
        per_channel = 2 * width + 1
        return ends + sum(b.heads * per_head + b.channels * per_channel + 2 * width for b in plan)

    def prompt_inputs(self) -> dict[str, RowSpec]:
        """A class label; label `classes` is of none."""
        return {"labels": RowSpec(torch.int64)}

    def features(self) -> dict[str, RowSpec]:
        """The label itself."""
        return self.prompt_inputs()

    def examples(self) -> Prompts:
        """Every class; guidance leads away from none."""
        labels = torch.arange(self.classes)
        return Prompts({"labels": labels}, {"labels": torch.full_like(labels, self.classes)})

    def step_weights(self) -> tuple[str, ...]:
        """Names the denoiser reads."""
        ends = ("patch.weight", "patch.bias", "pos_embed", "final.weight", "final.bias")
        blocks = tuple(name for layer in self.layers for name in (*layer.sliced, layer.projection, layer.bias))
        return ends + blocks

    def denoiser(self, plan: StagePlan, weights: Weights) -> nn.Module:
        """The step of a stage plan on tensors already cut to it."""
        return DiTStep(self, plan, weights)

    def condition(self, weights: Weights) -> nn.Module:
        """The condition: timesteps and labels to modulation."""
        return DiTCondition(self.depth, self.width, weights)

    def condition_names(self) -> tuple[str, ...]:
        """Names of the conditions, in the order the condition module returns them."""
        return tuple(self.condition_shapes())

    def condition_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each condition without its leading row axis."""
        return {
            "modulation": (self.depth, 6, self.width),
            "final_modulation": (2, self.width),
        }

    def diffusers_inputs(self, timesteps: Tensor, features: Rows) -> dict[str, Tensor]:
        """What `DiTTransformer2DModel` takes beside the latents."""
        return {"timestep": timesteps, "class_labels": features["labels"]}

    def convert(self, state: Weights) -> dict[str, Tensor]:
        """diffusers' state dict in this family's names and layouts; CheckpointError unless it fits the config."""
        return convert(self, state)


class DiTStep(nn.Module):
    """One denoising step of one stage plan."""

    tap: Tap | None = None
    entry: Entry | None = None

    def __init__(self, dit: DiT, plan: StagePlan, weights: Weights) -> None:
        super().__init__()
        self.dit = dit
        self.plan = plan
        self.weights = parameters_of(weights)
        # LayerNorm's weight must be given in ONNX; one constant instead of one made for every norm
        self.register_buffer("ones", torch.ones_like(weights["patch.bias"]), persistent=False)

    def forward(self, latents: Tensor, modulation: Tensor, final_modulation: Tensor) -> Tensor:
        """latents [B, C, h, w], modulation [B, L, 6, D], final_modulation [B, 2, D] → like latents."""
        return self.resume(0, self._patchify(latents), modulation, final_modulation)

    def resume(self, first: int, x: Tensor, modulation: Tensor, final_modulation: Tensor) -> Tensor:
        """The rest of a step from block `first` on, whose input is x [B, tokens, D]."""
        w: Any = self.weights
        # of each block shift, scale and gate of attention, then of the MLP: six of [B, 1, D]
        modulations = [modulation[:, index].split(1, 1) for index in range(first, len(self.plan))]
        norms = self._norms(modulations, final_modulation)
        h = modulated_norm(x, next(norms))
        for index, (_, _, gate1, _, _, gate2) in enumerate(modulations, first):
            if self.entry is not None:
                self.entry(index, x)
            at, block = w.blocks.get_submodule(str(index)), self.plan[index]
            x, h = gated_norm(x, gate1, self._attention(h, at, index, block.heads), next(norms))
            x, h = gated_norm(x, gate2, self._mlp(h, at, index, block.channels), next(norms))
        return self._unpatchify(linear(h.flatten(0, 1), w.final.weight, w.final.bias))

    def _norms(self, modulations: Sequence[tuple[Tensor, ...]], final_modulation: Tensor) -> Iterator[Norm]:
        """The norm before every half, and the one after the last."""
        ones = self.get_buffer("ones")
        for shift1, scale1, _, shift2, scale2, _ in modulations:
            yield Norm(scale1, shift1, ones, _ADA_NORM_EPS)
            yield Norm(scale2, shift2, ones, self.dit.mlp_norm_eps)
        shift, scale = final_modulation.split(1, 1)
        yield Norm(scale, shift, ones, _ADA_NORM_EPS)

    def _attention(self, h: Tensor, at: Any, index: int, heads: int) -> Branch:
        entry = h.flatten(0, 1)  # [B*tokens, D]
        if heads == 0:
            return Branch(self._offset(entry, at.out))
        qkv = linear(entry, at.qkv.weight, at.qkv.bias)
        mixed = self_attention(qkv, (h.shape[0], self.dit.tokens), self.dit.head_dim)
        return self._branch(mixed, entry, at.out, f"blocks.{index}.out.weight")

    def _mlp(self, h: Tensor, at: Any, index: int, channels: int) -> Branch:
        entry = h.flatten(0, 1)  # [B*tokens, D]
        if channels == 0:
            return Branch(self._offset(entry, at.fc2))
        hidden = gelu_linear(entry, at.fc1.weight, at.fc1.bias)
        return self._branch(hidden, entry, at.fc2, f"blocks.{index}.fc2.weight")

    def _branch(self, inputs: Tensor, entry: Tensor, layer: Any, name: str) -> Branch:
        if self.tap is not None:
            self.tap(name, inputs, entry)
        return Branch(self._offset(entry, layer), inputs, layer.weight)

    @staticmethod
    def _offset(entry: Tensor, layer: Any) -> Tensor:
        """What is added to the projection: the bias [D], with factors also entry @ left @ right, [B*tokens, D]."""
        bias: Tensor = layer.bias
        if "left" not in layer._parameters:
            return bias
        return torch.addmm(bias, entry @ layer.left, layer.right)

    def _patchify(self, latents: Tensor) -> Tensor:
        side, p = self.dit.sample_size // self.dit.patch, self.dit.patch
        patches = latents.reshape(-1, self.dit.latent_channels, side, p, side, p)
        patches = patches.permute(0, 2, 4, 1, 3, 5).reshape(-1, self.dit.latent_channels * p * p)
        w: Any = self.weights
        positions: Tensor = w.pos_embed
        return linear(patches, w.patch.weight, w.patch.bias).view(-1, *positions.shape) + positions

    def _unpatchify(self, patches: Tensor) -> Tensor:
        side, p, c = (
            self.dit.sample_size // self.dit.patch,
            self.dit.patch,
            self.dit.latent_channels,
        )
        pixels = patches.view(-1, side, side, p, p, c).permute(0, 5, 1, 3, 2, 4)
        return pixels.reshape(-1, c, side * p, side * p)
