"""A tiny SDXL of random weights in a diffusers folder: both text encoders, tokenizers, U-Net and VAE."""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionXLPipeline
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from tests.architectures.tiny import UNETS, tiny_unet, weighed

PROMPTS = ("a red cat", "a dog", "two birds on a roof", "nothing")
LENGTH = 77
_ENDS = ["<|startoftext|>", "<|endoftext|>"]
_MERGES: list[Any] = [("r", "e"), ("re", "d</w>"), ("c", "a"), ("ca", "t</w>")]


def tiny_pipeline() -> StableDiffusionXLPipeline:
    """The small U-Net of the families' tests behind text encoders of 8 and 16 channels."""
    letters = ["!", *map(chr, range(ord("a"), ord("z") + 1))]
    merged = ["".join(pair) for pair in _MERGES]
    vocab = {piece: n for n, piece in enumerate([*letters, *(f"{each}</w>" for each in letters), *merged, *_ENDS])}
    tokenizers = [CLIPTokenizer(vocab=vocab, merges=_MERGES, pad_token=pad, model_max_length=LENGTH) for pad in "!!"]
    tokenizers[0].pad_token = _ENDS[1]
    common: dict[str, Any] = {
        "vocab_size": len(vocab),
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": LENGTH,
        "bos_token_id": vocab[_ENDS[0]],
        "eos_token_id": vocab[_ENDS[1]],
    }
    second: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, "projection_dim": 20, "hidden_act": "gelu"}
    torch.manual_seed(0)
    return StableDiffusionXLPipeline(
        vae=AutoencoderKL(
            block_out_channels=[8, 8],
            down_block_types=["DownEncoderBlock2D"] * 2,
            up_block_types=["UpDecoderBlock2D"] * 2,
            latent_channels=4,
            norm_num_groups=4,
        ).eval(),
        text_encoder=weighed(CLIPTextModel(CLIPTextConfig(**common, hidden_size=8, intermediate_size=16))),
        text_encoder_2=weighed(CLIPTextModelWithProjection(CLIPTextConfig(**common, **second))),
        tokenizer=tokenizers[0],
        tokenizer_2=tokenizers[1],
        unet=tiny_unet(**UNETS["small"]),
        scheduler=DDIMScheduler(beta_start=1e-4, beta_end=0.02, clip_sample=False),
    )


def save(pipeline: StableDiffusionXLPipeline, folder: Path) -> Path:
    """As a model folder with prompts of its own."""
    pipeline.save_pretrained(folder)
    (folder / "prompts.txt").write_text("\n".join(PROMPTS) + "\n")
    return folder
