"""A VAE's decoder: latents as the denoiser leaves them → images in [-1, 1]."""

from collections.abc import Mapping
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor, nn

from diffes import kernels
from diffes.errors import CheckpointError


class LatentDecoder(nn.Module):
    """diffusers' `AutoencoderKL.decode` with the latents' scaling undone, on the given tensors without copying them.

    `config` is the VAE's config.json; `state` holds its tensors by diffusers' names (the encoder's are ignored).
    CheckpointError if the config is of another class or a tensor is missing.
    """

    def __init__(self, config: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
        super().__init__()
        if config.get("_class_name") != "AutoencoderKL":
            raise CheckpointError("unknown VAE family", expected="AutoencoderKL", found=config.get("_class_name"))
        with torch.device("meta"):
            vae = AutoencoderKL.from_config(dict(config))
        self.scale = float(vae.config.scaling_factor)
        self.shift = float(vae.config.shift_factor or 0.0)
        self.decoder = vae.decoder
        self.post_quant_conv = vae.post_quant_conv
        missing = set(self.state_dict()) - set(state)
        if missing:
            raise CheckpointError("the VAE lacks a tensor", expected=min(missing), found=f"{len(state)} others")
        self.load_state_dict({name: state[name] for name in self.state_dict()}, assign=True)
        self.eval().requires_grad_(False)

    def forward(self, latents: Tensor) -> Tensor:
        """latents [B, C, h, w] → images [B, 3, H, W] in [-1, 1]."""
        latents = latents / self.scale + self.shift
        if self.post_quant_conv is not None:
            latents = self.post_quant_conv(latents)
        return self._decoded(latents).clamp(-1, 1)

    def _decoded(self, latents: Tensor) -> Tensor:
        if kernels.is_fast(latents):
            from diffes.kernels import decoder  # needs Triton, which only GPUs do

            if decoder.fits(self.decoder):
                return decoder.decode(self.decoder, latents)
        images: Tensor = self.decoder(latents)
        return images
