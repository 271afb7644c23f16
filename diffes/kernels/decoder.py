"""diffusers' VAE decoder on a GPU in arithmetic that may round: its convolutions, and kernels of ours between them."""

from typing import Any

from diffusers.models.autoencoders.vae import Decoder
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn

from diffes.kernels.channels_last import convolved, doubled, group_norm
from diffes.kernels.plain import GroupNorm


def decode(decoder: Decoder, latents: Tensor) -> Tensor:
    """What the decoder does to latents [B, C, h, w] → images [B, 3, H, W]."""
    parts: Any = decoder
    x = _convolved(parts.conv_in, latents)
    first, *others = parts.mid_block.resnets
    x = _block(first, x)
    for attention, block in zip(parts.mid_block.attentions, others, strict=True):
        x = _block(block, x if attention is None else attention(x))
    for stage in parts.up_blocks:
        for block in stage.resnets:
            x = _block(block, x)
        for upsampler in stage.upsamplers or ():
            x = _convolved(upsampler.conv, doubled(x))
    return _convolved(parts.conv_out, _activated(x, parts.conv_norm_out)).contiguous()


def fits(decoder: Decoder) -> bool:
    """Whether it is built of what `decode` knows, as every config of AutoencoderKL that is published is."""
    parts: Any = decoder
    blocks = [module for module in decoder.modules() if isinstance(module, ResnetBlock2D)]
    upsamplers = [module for module in decoder.modules() if isinstance(module, Upsample2D)]
    return (
        isinstance(parts.conv_norm_out, nn.GroupNorm)
        and isinstance(parts.conv_act, nn.SiLU)
        and all(_block_fits(block) for block in blocks)
        and all(each.use_conv and each.norm is None and each.interpolate for each in upsamplers)
    )


def _block_fits(block: Any) -> bool:
    plain = block.upsample is None and block.downsample is None and block.time_emb_proj is None
    return plain and isinstance(block.nonlinearity, nn.SiLU) and block.output_scale_factor == 1


def _block(block: Any, x: Tensor) -> Tensor:
    """Two convolutions of normed activations, added to what came in."""
    skip = x if block.conv_shortcut is None else _convolved(block.conv_shortcut, x)
    x = _convolved(block.conv1, _activated(x, block.norm1))
    return _convolved(block.conv2, _activated(x, block.norm2), skip)


def _activated(x: Tensor, norm: nn.GroupNorm) -> Tensor:
    return group_norm(x, GroupNorm(norm.weight, norm.bias, norm.num_groups, norm.eps), silu=True)


def _convolved(layer: Any, x: Tensor, skip: Tensor | None = None) -> Tensor:
    return convolved(x, layer.weight, layer.bias, skip)
