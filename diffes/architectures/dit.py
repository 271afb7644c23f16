"""DiT (Peebles & Xie, arXiv 2212.09748) as diffusers' `DiTTransformer2DModel` stores it.

Names and layouts are `adaln.py`'s, and beside them (D model width, L blocks), read by the condition alone:

    embedder.fc1|fc2, embedder.labels, ada.weight [L*6*D, D], final_ada.weight [2*D, D]

adaLN's modulation depends on timestep and label only, so the condition computes it for all steps of a request at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from diffes.architectures.adaln import SUPPORTED, AdaLNTransformer, sizes_of
from diffes.architectures.adaln_step import AdaLNStep
from diffes.architectures.base import Weights, count, require_keys
from diffes.architectures.dit_condition import DiTCondition
from diffes.architectures.dit_weights import convert
from diffes.prompts import Numbers, Prompts, Rows, RowSpec
from diffes.schedule import StagePlan


@dataclass(frozen=True)
class DiT(AdaLNTransformer):
    """One DiT as its `transformer/config.json` describes it."""

    classes: int

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "DiT":
        """Read diffusers' config; CheckpointError for variants this family does not cover."""
        require_keys(config, {**SUPPORTED, "norm_type": "ada_norm_zero"}, "DiT")
        return cls(classes=count(config, "num_embeds_ada_norm", "DiT"), **sizes_of(config, "DiT"))

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

    def encoder_weights(self) -> tuple[str, ...]:
        """None."""
        return ()

    def encoder(self, weights: Weights) -> None:
        """There is none: a label is its own feature."""

    def denoiser(self, plan: StagePlan, weights: Weights) -> nn.Module:
        """The step of a stage plan on tensors already cut to it."""
        return AdaLNStep(self, plan, weights)

    def sizes(self, *_: object) -> dict[str, Numbers]:
        """Nothing: every image has the same."""
        return {}

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

    def diffusers_inputs(self, timesteps: Tensor, prompts: Rows) -> dict[str, Any]:
        """What `DiTTransformer2DModel` takes beside the latents."""
        return {"timestep": timesteps, "class_labels": prompts["labels"]}

    def convert(self, state: Weights) -> dict[str, Tensor]:
        """diffusers' state dict in this family's names and layouts; CheckpointError unless it fits the config."""
        return convert(self, state)
