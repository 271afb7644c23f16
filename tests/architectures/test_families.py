"""Every family's adapter through the kit."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from diffes.architectures import architecture_for
from tests.architectures.kit import CHECKS, Subject, exported_graphs_compute_the_same
from tests.conftest import tiny_dit

UNETS: dict[str, dict[str, Any]] = {
    "small": {
        "block_out_channels": (16, 32),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "attention_head_dim": (2, 4),
        "transformer_layers_per_block": (1, 1),
        "layers_per_block": 1,
    },
    "sdxl": {},
    "two-levels-of-heads": {
        "block_out_channels": (16, 32),
        "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        "attention_head_dim": (2, 4),
        "transformer_layers_per_block": (1, 2),
        "layers_per_block": 1,
    },
    "plain-at-the-bottom": {
        "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        "transformer_layers_per_block": 1,
        "attention_head_dim": 2,
        "out_channels": 4,
        "norm_eps": 1e-3,
    },
}


def tiny_unet(**config: Any) -> UNet2DConditionModel:
    """SDXL's shape on 8x8 latents: no text at the finest level, deeper ones below; every weight matters."""
    shape = {
        "sample_size": 8,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": (16, 32, 32),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 1, 2),
        "attention_head_dim": (2, 2, 4),
        "layers_per_block": 2,
        "cross_attention_dim": 24,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 8 * 6 + 20,
        "use_linear_projection": True,
        "norm_num_groups": 8,
    }
    model = UNet2DConditionModel(**(shape | config)).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        scale = parameter[0].numel() ** -0.5 if parameter.dim() > 1 else 0.3
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return model


def subject(name: str) -> Subject:
    model = tiny_dit() if name == "dit" else tiny_unet(**UNETS[name])
    return Subject.of(model, architecture_for(type(model).__name__, model.config))


@pytest.fixture(scope="module", params=["dit", *UNETS])
def family(request: pytest.FixtureRequest) -> Subject:
    return subject(request.param)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_an_adapter_holds(family: Subject, check: Callable[[Subject], None]) -> None:
    check(family)


@pytest.mark.parametrize("name", ["dit", "small"])  # a trace takes seconds a block
def test_exported_graphs_compute_the_same(name: str) -> None:
    exported_graphs_compute_the_same(subject(name))
