"""Small random models of diffusers, by family and what a variant has of its own."""

from typing import Any

import torch
from diffusers.models.transformers.pixart_transformer_2d import PixArtTransformer2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

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


PIXARTS: dict[str, dict[str, Any]] = {
    "pixart": {},
    "pixart-told-sizes": {
        "use_additional_conditions": True,
        "num_attention_heads": 3,
        "cross_attention_dim": 24,
        "interpolation_scale": 2,
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
    return weighed(UNet2DConditionModel(**(shape | config)))


def tiny_pixart(**config: Any) -> PixArtTransformer2DModel:
    """Two blocks of 4 heads x 8 on 8x8 latents that predict a variance, too; every weight matters."""
    shape = {
        "num_attention_heads": 4,
        "attention_head_dim": 8,
        "num_layers": 2,
        "in_channels": 4,
        "out_channels": 8,
        "cross_attention_dim": 32,
        "sample_size": 8,
        "caption_channels": 24,
    }
    return weighed(PixArtTransformer2DModel(**(shape | config)))


def weighed(model: Any) -> Any:
    """With normal weights, scaled by fan-in, and biases that show."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.eval().requires_grad_(False).parameters():
        scale = parameter[0].numel() ** -0.5 if parameter.dim() > 1 else 0.3
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return model
