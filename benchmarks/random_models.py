"""Models of full size with random weights, as diffusers folders: for speed and memory, and nothing else."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.transformers.dit_transformer_2d import DiTTransformer2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from tokenizers import pre_tokenizers
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

# as the published DiT-XL/2 at 256 x 256 pixels: latents 4 x 32 x 32, learned variance
DIT_XL: dict[str, Any] = {
    "num_attention_heads": 16,
    "attention_head_dim": 72,
    "num_layers": 28,
    "in_channels": 4,
    "out_channels": 8,
    "patch_size": 2,
    "sample_size": 32,
    "num_embeds_ada_norm": 1000,
    "norm_type": "ada_norm_zero",
    "norm_elementwise_affine": False,
    "activation_fn": "gelu-approximate",
    "attention_bias": True,
}
# as SDXL base 1.0: latents 4 x 128 x 128, 70 transformer blocks
SDXL: dict[str, Any] = {
    "sample_size": 128,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "layers_per_block": 2,
    "cross_attention_dim": 2048,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
    "use_linear_projection": True,
}
# its text encoders: CLIP ViT-L/14 and OpenCLIP ViT-bigG/14
ENCODERS: tuple[dict[str, Any], ...] = (
    {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12},
    {
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "num_hidden_layers": 32,
        "num_attention_heads": 20,
        "projection_dim": 1280,
        "hidden_act": "gelu",
    },
)
# as the published VAEs of both: 8 x 8 pixels a latent
VAE: dict[str, Any] = {
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "latent_channels": 4,
}
_STANDARD_DEVIATION = 0.02  # small enough that 28 blocks stay finite in 16 bits
_START, _END = "<|startoftext|>", "<|endoftext|>"


def write_dit(config: dict[str, Any], out: Path, generator: torch.Generator) -> None:
    """A DiT, its labels and its VAE."""
    model = random_model(lambda: DiTTransformer2DModel(**config), generator)
    first = model.transformer_blocks[0].norm1.emb  # one embedder shared by all blocks, as in the original
    for block in model.transformer_blocks[1:]:
        block.norm1.emb.load_state_dict(first.state_dict())
    model.save_pretrained(out / "transformer")
    _write_vae(out, generator, sample_size=256, scaling_factor=0.18215)
    DDIMScheduler(beta_start=1e-4, beta_end=0.02, clip_sample=False).save_pretrained(out / "scheduler")
    index = {
        "_class_name": "DiTPipeline",
        "transformer": ["diffusers", "DiTTransformer2DModel"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "vae": ["diffusers", "AutoencoderKL"],
        "id2label": {str(label): f"class {label}" for label in range(config["num_embeds_ada_norm"])},
    }
    (out / "model_index.json").write_text(json.dumps(index, indent=1) + "\n")


def write_sdxl(
    config: dict[str, Any], out: Path, generator: torch.Generator, encoders: Iterable[dict[str, Any]] = ENCODERS
) -> None:
    """A U-Net, two text encoders with tokenizers that know bytes alone, and the VAE."""
    random_model(lambda: UNet2DConditionModel(**config), generator).save_pretrained(out / "unet")
    tokenizer = _bytes_alone()
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    kinds = (CLIPTextModel, "text_encoder", "tokenizer"), (CLIPTextModelWithProjection, "text_encoder_2", "tokenizer_2")
    for (kind, folder, words), sizes in zip(kinds, encoders, strict=True):
        clip = CLIPTextConfig(**ends, **sizes)
        random_model(lambda kind=kind, clip=clip: kind(clip), generator).save_pretrained(out / folder)  # type: ignore[misc]
        tokenizer.save_pretrained(out / words)
    _write_vae(out, generator, sample_size=1024, scaling_factor=0.13025)
    EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, timestep_spacing="leading"
    ).save_pretrained(out / "scheduler")
    index = {
        "_class_name": "StableDiffusionXLPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "tokenizer_2": ["transformers", "CLIPTokenizer"],
        "scheduler": ["diffusers", "EulerDiscreteScheduler"],
        "vae": ["diffusers", "AutoencoderKL"],
        "force_zeros_for_empty_prompt": True,
    }
    (out / "model_index.json").write_text(json.dumps(index, indent=1) + "\n")


WRITERS: dict[str, Callable[[Path, torch.Generator], None]] = {
    "dit-xl-2-256": lambda out, generator: write_dit(DIT_XL, out, generator),
    "sdxl": lambda out, generator: write_sdxl(SDXL, out, generator),
}


def write_random_model(name: str, out: Path, *, seed: int = 0) -> None:
    """Write the model's folder, weights in bfloat16."""
    WRITERS[name](out, torch.Generator().manual_seed(seed))


def random_model(build: Callable[[], nn.Module], generator: torch.Generator) -> Any:
    """The model in bfloat16 with normal weights: built without any, for its own would take longer to draw."""
    with torch.device("meta"):
        model = build()
    model = model.to_empty(device="cpu").to(torch.bfloat16)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.normal_(0, _STANDARD_DEVIATION, generator=generator)
    return model


def _write_vae(out: Path, generator: torch.Generator, **config: Any) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(generator.initial_seed())
        AutoencoderKL(**VAE, **config).to(torch.bfloat16).save_pretrained(out / "vae")


def _bytes_alone() -> CLIPTokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*alphabet, *(f"{each}</w>" for each in alphabet), _START, _END]
    return CLIPTokenizer(vocab={piece: number for number, piece in enumerate(pieces)}, merges=[], model_max_length=77)
