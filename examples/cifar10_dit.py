"""The DiT that train_cifar10_dit.py trains: how it is built, and how it is saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cifar10 import CLASSES, SIDE, replacing
from diffusers import DDIMScheduler, DiTTransformer2DModel
from safetensors.torch import save_file
from torch import nn

TIMESTEPS = 1000
MODEL = {
    "num_attention_heads": 8,
    "attention_head_dim": 32,
    "num_layers": 12,
    "patch_size": 2,
    "sample_size": SIDE,
    "in_channels": 3,
    "out_channels": 3,
    "num_embeds_ada_norm": len(CLASSES),
    "norm_type": "ada_norm_zero",
    "activation_fn": "gelu-approximate",
}
SAMPLER = {
    "num_train_timesteps": TIMESTEPS,
    "beta_start": 1e-4,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "prediction_type": "epsilon",
    "clip_sample": False,
    "set_alpha_to_one": True,
    "steps_offset": 0,
    "timestep_spacing": "leading",
}


def build_model() -> Any:  # diffusers ships no types
    """A DiT whose blocks share one embedder of timestep and label, initialised as published.

    diffusers gives every block an embedder of its own, each of which would drop labels on its
    own: a sample could be labelled in one block and not in the next. Here they are tied and drop
    none; `state_dict` still names them per block, so the saved file has diffusers' layout.
    """
    model = DiTTransformer2DModel(**MODEL)
    embedder = model.transformer_blocks[0].norm1.emb
    embedder.class_embedder.dropout_prob = 0.0
    for block in model.transformer_blocks:
        block.norm1.emb = embedder
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    patches = model.pos_embed.proj
    nn.init.xavier_uniform_(patches.weight.view(len(patches.weight), -1))
    nn.init.zeros_(patches.bias)
    nn.init.normal_(embedder.class_embedder.embedding_table.weight, std=0.02)
    nn.init.normal_(embedder.timestep_embedder.linear_1.weight, std=0.02)
    nn.init.normal_(embedder.timestep_embedder.linear_2.weight, std=0.02)
    for block in model.transformer_blocks:  # adaLN-zero: every block begins as the identity
        nn.init.zeros_(block.norm1.linear.weight)
    nn.init.zeros_(model.proj_out_1.weight)
    nn.init.zeros_(model.proj_out_2.weight)
    return model


def save_diffusers(model: Any, folder: Path) -> None:
    """Writes model, sampler and class names as diffusers reads them, weights in float16."""
    weights = {name: value.half().cpu().clone() for name, value in model.state_dict().items()}
    with replacing(folder / "transformer" / "diffusion_pytorch_model.safetensors") as path:
        save_file(weights, path, metadata={"format": "pt"})
    model.save_config(folder / "transformer")
    DDIMScheduler(**SAMPLER).save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "DiTPipeline",
        "_diffusers_version": model.config["_diffusers_version"],
        "id2label": {str(number): name for number, name in enumerate(CLASSES)},
        "scheduler": ["diffusers", "DDIMScheduler"],
        "transformer": ["diffusers", "DiTTransformer2DModel"],
        "vae": [None, None],
    }
    with replacing(folder / "model_index.json") as path:
        path.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
