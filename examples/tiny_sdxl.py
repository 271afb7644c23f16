"""The text-to-image model that train_tiny_sdxl.py trains, of SDXL's shape: how it is built and saved.

Podell et al. 2023, "SDXL: Improving Latent Diffusion Models for High-Resolution Image Synthesis" (arXiv 2307.01952):
a U-Net without transformer blocks at its finest resolution, two text encoders whose last states but one are read side
by side, the second one's pooled state and the image's sizes and crop added to the time embedding.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

TIMESTEPS = 1000
LENGTH = 77  # tokens of a text
STRIDE = 2  # pixels of a latent's side
_MERGES = 160  # of characters to words and their parts: every word of the captions, and most of others in pieces
_START, _END = "<|startoftext|>", "<|endoftext|>"
_POOLED = 128
_ID_CHANNELS = 32
_STATES = (64, 96)  # channels of the text encoders

UNET = {
    "sample_size": 16,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (64, 160, 160),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 5, 1),
    "attention_head_dim": (4, 10, 10),  # how many heads, in diffusers' words
    "layers_per_block": 1,
    "cross_attention_dim": sum(_STATES),
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": _ID_CHANNELS,
    "projection_class_embeddings_input_dim": 6 * _ID_CHANNELS + _POOLED,
    "use_linear_projection": True,
    "norm_num_groups": 16,
}
VAE = {
    "sample_size": 32,
    "block_out_channels": (48, 96),
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 16,
}
SAMPLER: dict[str, Any] = {
    "num_train_timesteps": TIMESTEPS,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "epsilon",
    "timestep_spacing": "leading",
    "steps_offset": 1,
}


def build_tokenizer(texts: Iterable[str]) -> tuple[CLIPTokenizer, CLIPTokenizer]:
    """CLIP's kind of tokenizer for both text encoders, its pieces learnt from the texts; the second pads with `!`."""
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.pre_tokenizer = pre_tokenizers.Whitespace()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=1 << 14, end_of_word_suffix="</w>", show_progress=False)
    learner.train_from_iterator(texts, trainer)
    learnt = json.loads(learner.to_str())["model"]["merges"]
    merges: list[Any] = [tuple(pair) for pair in learnt][:_MERGES]
    pieces = [*alphabet, *(f"{each}</w>" for each in alphabet), *("".join(pair) for pair in merges), _START, _END]
    vocab = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    made: list[Any] = [
        CLIPTokenizer(vocab=vocab, merges=merges, pad_token=pad, model_max_length=LENGTH) for pad in (_END, "!")
    ]
    return made[0], made[1]


class TextToImage(nn.Module):
    """U-Net and text encoders, which learn together."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
        common = {"vocab_size": len(tokenizer), "max_position_embeddings": LENGTH, "num_hidden_layers": 3, **ends}
        configs = [
            CLIPTextConfig(
                **common, hidden_size=size, intermediate_size=4 * size, num_attention_heads=4, projection_dim=_POOLED
            )
            for size in _STATES
        ]
        self.text_encoder = CLIPTextModel(configs[0])
        self.text_encoder_2 = CLIPTextModelWithProjection(configs[1])
        self.unet = UNet2DConditionModel(**UNET)

    def forward(self, latents: Tensor, timesteps: Tensor, tokens: Tensor, present: Tensor, time_ids: Tensor) -> Tensor:
        """latents [B, 4, h, w], timesteps [B], tokens [2, B, LENGTH], present [B] 0 or 1, time_ids [B, 6] → noise.

        Without a text its states are zeros, as diffusers' pipeline has them.
        """
        first = self.text_encoder(tokens[0], output_hidden_states=True)
        second = self.text_encoder_2(tokens[1], output_hidden_states=True)
        states = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], 2) * present[:, None, None]
        added = {"text_embeds": second.text_embeds * present[:, None], "time_ids": time_ids}
        predicted: Tensor = self.unet(latents, timesteps, states, added_cond_kwargs=added, return_dict=False)[0]
        return predicted


def build_autoencoder() -> Any:  # diffusers ships no types
    """The VAE as it begins."""
    return AutoencoderKL(**VAE)


def save_pipeline(
    model: TextToImage, vae: Any, tokenizers: tuple[CLIPTokenizer, CLIPTokenizer], prompts: Iterable[str], folder: Path
) -> None:
    """Write a folder that `StableDiffusionXLPipeline.from_pretrained` opens, in float16, whole or not at all."""
    pipeline = StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=model.text_encoder,
        text_encoder_2=model.text_encoder_2,
        tokenizer=tokenizers[0],
        tokenizer_2=tokenizers[1],
        unet=model.unet,
        scheduler=EulerDiscreteScheduler(**SAMPLER),
    )
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    pipeline.to(torch.float16).save_pretrained(partial)
    (partial / "prompts.txt").write_text("\n".join(prompts) + "\n", encoding="utf-8")
    if folder.exists():  # what is beside the model, such as its card, stays
        for path in folder.iterdir():
            if not (partial / path.name).exists():
                shutil.move(path, partial / path.name)
        shutil.rmtree(folder)
    partial.rename(folder)
