"""A VAE's decoder: latents as the denoiser leaves them → images in [-1, 1]."""

from collections.abc import Mapping
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.vae import Decoder
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from diffes import kernels
from diffes.errors import CheckpointError
from diffes.kernels import GroupNorm


class GroupNormSilu(nn.Module):
    """A group norm and the SiLU that follows it; its tensors have the norm's names."""

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias
        self._groups, self._eps = norm.num_groups, norm.eps

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, h, w] → like x."""
        return kernels.group_norm_silu(x, GroupNorm(self._groups, self.weight, self.bias, self._eps))


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
        self.decoder = _with_norms_fused(vae.decoder)
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
        if kernels.is_fast(latents):  # convolutions are, and our norms
            latents = latents.contiguous(memory_format=torch.channels_last)
        images: Tensor = self.decoder(latents)
        return images.clamp(-1, 1)


def _with_norms_fused(decoder: Decoder) -> Decoder:
    """diffusers' decoder with the SiLU of every norm in one operator with it."""
    for block in list(decoder.modules()):
        if isinstance(block, ResnetBlock2D) and isinstance(block.nonlinearity, nn.SiLU):
            block.norm1, block.norm2 = GroupNormSilu(block.norm1), GroupNormSilu(block.norm2)
            block.nonlinearity = nn.Identity()
    if isinstance(decoder.conv_norm_out, nn.GroupNorm):
        decoder.conv_norm_out, decoder.conv_act = GroupNormSilu(decoder.conv_norm_out), nn.Identity()
    return decoder
