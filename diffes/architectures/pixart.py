"""PixArt (arXiv 2310.00426, 2403.04692) as diffusers' `PixArtTransformer2DModel` stores it: a DiT with text.

Names and layouts are `adaln.py`'s, and beside them (D model width, H heads of size d, T what a caption's states have):

    blocks.i.query.weight     [H*d, D]   of the attention to the text, which reads what is there without a norm
    blocks.i.text_out.weight  [H*d, D]   (in, out)
    blocks.i.key.weight, blocks.i.value.weight [H*d, D], caption.fc1.weight [D, T]: the encoder's
    tables [L, 6, D], final_table [2, D], ada.weight [6*D, D], embedder.fc1|fc2: the condition's

A block's heads are those of both attentions: as many of each are kept, each attention's in its own order. A step takes
`text` [B, tokens, L*2*D], keys and then values of each block, and `ignored` [B, 1, tokens], what is added to scores of
places behind a caption's end; and `modulation` and `final_modulation` as a DiT's does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from diffes.architectures.adaln import SUPPORTED, AdaLNTransformer, sizes_of
from diffes.architectures.base import PrunableLayer, Weights, count, require_keys
from diffes.architectures.pixart_condition import PixArtCondition, PixArtEncoder
from diffes.architectures.pixart_step import PixArtStep
from diffes.architectures.pixart_weights import convert
from diffes.prompts import Numbers, Prompts, Rows, RowSpec
from diffes.schedule import StagePlan
from diffes.sizes import Size

_TEXT_TOKENS = 120  # of a caption, as the pipeline cuts and fills it
_SIZED = 128  # sample_size of models that are told resolution and aspect ratio, if their config does not say


@dataclass(frozen=True)
class PixArt(AdaLNTransformer):
    """One PixArt as its `transformer/config.json` describes it."""

    caption_channels: int
    position_scale: int  # of the table of positions
    sized: bool  # whether it is told resolution and aspect ratio

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "PixArt":
        """Read diffusers' config; CheckpointError for variants this family does not cover."""
        sizes = sizes_of(config, "PixArt")
        width = sizes["heads"] * sizes["head_dim"]
        wanted = {**SUPPORTED, "norm_type": "ada_norm_single", "norm_eps": 1e-6, "cross_attention_dim": width}
        require_keys(config, wanted, "PixArt")
        sized = config.get("use_additional_conditions")
        return cls(
            caption_channels=count(config, "caption_channels", "PixArt"),
            position_scale=config.get("interpolation_scale") or max(sizes["sample_size"] // 64, 1),
            sized=sizes["sample_size"] == _SIZED if sized is None else sized,
            **sizes,
        )

    def _layers_of(self, block: int) -> tuple[PrunableLayer, ...]:
        attention, mlp = super()._layers_of(block)
        at = f"blocks.{block}"
        to_text = replace(
            attention,
            sliced=(f"{at}.query.weight", f"{at}.query.bias"),
            projection=f"{at}.text_out.weight",
            bias=f"{at}.text_out.bias",
            ordered=tuple(f"{at}.{name}.{part}" for name in ("key", "value") for part in ("weight", "bias")),
        )
        return attention, to_text, mlp

    def macs(self, plan: StagePlan) -> int:
        """Multiply-accumulates of one row of one step."""
        per_head = self.tokens * self.head_dim * (2 * self.width + 2 * _TEXT_TOKENS)
        return super().macs(plan) + sum(block.heads * per_head for block in plan)

    def parameters(self, plan: StagePlan) -> int:
        """Numbers the denoiser of a plan reads; a skipped half leaves its biases."""
        per_head = self.head_dim * (2 * self.width + 1)
        return super().parameters(plan) + sum(block.heads * per_head + self.width for block in plan)

    def prompt_inputs(self) -> dict[str, RowSpec]:
        """What a text encoder says of a caption: states [tokens, T], and which of them there are; and sizes."""
        sizes = {"resolution": RowSpec(torch.float32, (2,)), "aspect_ratio": RowSpec(torch.float32, (1,))}
        return {
            "states": RowSpec(torch.float32, (_TEXT_TOKENS, self.caption_channels)),
            "present": RowSpec(torch.float32, (_TEXT_TOKENS,)),
            **(sizes if self.sized else {}),
        }

    def sizes(self, size: Size, *_: object) -> dict[str, Numbers]:
        """In pixels, and their ratio; nothing of models that are not told."""
        if not self.sized:
            return {}
        return {"resolution": tuple(map(float, size)), "aspect_ratio": (size.height / size.width,)}

    def features(self) -> dict[str, RowSpec]:
        """What is added to the time embedding."""
        return {"added": RowSpec(torch.float32, (self.width,))}

    def examples(self) -> Prompts:
        """Captions of normal states, one of half the length; guidance leads away from one token of nothing."""
        states = torch.randn(2, _TEXT_TOKENS, self.caption_channels, generator=torch.Generator().manual_seed(0))
        places, side = torch.arange(_TEXT_TOKENS), 8.0 * self.sample_size
        ends = torch.tensor([[_TEXT_TOKENS], [_TEXT_TOKENS // 2]])
        sizes = {"resolution": torch.full((2, 2), side), "aspect_ratio": torch.ones(2, 1)} if self.sized else {}
        wanted = {"states": states, "present": (places < ends).float()}
        unwanted = {"states": torch.zeros_like(states), "present": (places < 1).float().expand(2, -1)}
        return Prompts({**wanted, **sizes}, {**unwanted, **sizes})

    def encoder_weights(self) -> tuple[str, ...]:
        """The caption's projection, keys and values, and the embeddings of sizes."""
        sizes = ("resolution", "aspect_ratio") if self.sized else ()
        linears = [f"{name}.fc{number}" for name in ("caption", *sizes) for number in (1, 2)]
        own = [f"{name}.{part}" for name in linears for part in ("weight", "bias")]
        return (*own, *(name for layer in self.layers for name in layer.ordered))

    def encoder(self, weights: Weights) -> nn.Module:
        """Captions to what is added to the time embedding, and the conditions of their text."""
        return PixArtEncoder(self, weights)

    def denoiser(self, plan: StagePlan, weights: Weights) -> nn.Module:
        """The step of a stage plan on tensors already cut to it."""
        return PixArtStep(self, plan, weights)

    def condition(self, weights: Weights) -> nn.Module:
        """Timesteps and what is added to them to modulation."""
        return PixArtCondition(self, weights)

    def condition_names(self) -> tuple[str, ...]:
        """Of what a timestep gives."""
        return "modulation", "final_modulation"

    def condition_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each condition without its leading row axis."""
        return {
            "text": (_TEXT_TOKENS, self.depth * 2 * self.width),
            "ignored": (1, _TEXT_TOKENS),
            "modulation": (self.depth, 6, self.width),
            "final_modulation": (2, self.width),
        }

    def diffusers_inputs(self, timesteps: Tensor, prompts: Rows) -> dict[str, Any]:
        """What `PixArtTransformer2DModel` takes beside the latents."""
        sizes = {name: prompts[name] if self.sized else None for name in ("resolution", "aspect_ratio")}
        return {
            "timestep": timesteps,
            "encoder_hidden_states": prompts["states"],
            "encoder_attention_mask": prompts["present"],
            "added_cond_kwargs": sizes,
        }

    def convert(self, state: Weights) -> dict[str, Tensor]:
        """diffusers' state dict in this family's names and layouts; CheckpointError unless it fits the config."""
        return convert(self, state)
