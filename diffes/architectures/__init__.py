"""What can be pruned where, one file per family behind one protocol."""

from collections.abc import Callable, Mapping
from typing import Any

from diffes.architectures.base import Architecture, PrunableLayer
from diffes.architectures.conditioning import Conditioning, constants_of, encoded_by, encoder_outputs
from diffes.architectures.dit import DiT
from diffes.architectures.pixart import PixArt
from diffes.architectures.unet import UNet
from diffes.errors import CheckpointError

_FAMILIES: dict[str, Callable[[Mapping[str, Any]], Architecture]] = {
    "DiTTransformer2DModel": DiT.from_config,
    "PixArtTransformer2DModel": PixArt.from_config,
    "UNet2DConditionModel": UNet.from_config,
}


def architecture_for(class_name: str, config: Mapping[str, Any]) -> Architecture:
    """The architecture of a diffusers denoiser class; CheckpointError for unknown families."""
    if class_name not in _FAMILIES:
        raise CheckpointError(
            "unknown denoiser family",
            expected=f"one of {', '.join(sorted(_FAMILIES))}",
            found=class_name,
        )
    return _FAMILIES[class_name](config)


__all__ = [
    "Architecture",
    "Conditioning",
    "PrunableLayer",
    "architecture_for",
    "constants_of",
    "encoded_by",
    "encoder_outputs",
]
