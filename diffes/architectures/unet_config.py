"""What diffusers' U-Net configs say, in this family's words."""

from collections.abc import Mapping, Sequence
from typing import Any

from diffes.architectures.base import require_keys
from diffes.architectures.unet_tree import Level
from diffes.errors import CheckpointError

FAMILY = "U-Net"
TEXT_TOKENS = 77  # of CLIP's text encoders
TIME_IDS = 6  # original height and width, top and left of the crop, height and width wanted

_SUPPORTED = {
    "act_fn": "silu",
    "addition_embed_type": "text_time",
    "use_linear_projection": True,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
}

# what a config may leave out; anything else computes something else, some of it with the same tensors
_DEFAULTS = {
    "attention_type": "default",
    "center_input_sample": False,
    "class_embed_type": None,
    "conv_in_kernel": 3,
    "conv_out_kernel": 3,
    "cross_attention_norm": None,
    "downsample_padding": 1,
    "dual_cross_attention": False,
    "encoder_hid_dim": None,
    "encoder_hid_dim_type": None,
    "mid_block_scale_factor": 1,
    "only_cross_attention": False,
    "resnet_out_scale_factor": 1.0,
    "resnet_skip_time_act": False,
    "resnet_time_scale_shift": "default",
    "reverse_transformer_layers_per_block": None,
    "time_cond_proj_dim": None,
    "time_embedding_act_fn": None,
    "time_embedding_dim": None,
    "time_embedding_type": "positional",
    "timestep_post_act": None,
}


def require_supported(config: Mapping[str, Any]) -> None:
    """CheckpointError for variants that a step here would compute wrongly."""
    require_keys(config, _SUPPORTED, FAMILY)
    require_keys({**_DEFAULTS, **config}, _DEFAULTS, FAMILY)


def levels_of(config: Mapping[str, Any]) -> tuple[tuple[Level, ...], int]:
    """The levels, finest first, and how many transformer blocks the middle has; CheckpointError for other U-Nets."""
    crossed, widths = _crossed(config), config["block_out_channels"]
    depths = _of_each(config.get("transformer_layers_per_block", 1), len(widths))
    heads = _of_each(config.get("num_attention_heads") or config["attention_head_dim"], len(widths))
    levels = tuple(
        Level(width, depth if has else 0, count)
        for width, depth, count, has in zip(widths, depths, heads, crossed, strict=True)
    )
    return levels, depths[-1]


def _crossed(config: Mapping[str, Any]) -> list[bool]:
    """Of each level, finest first, whether it has transformer blocks; both ways have to agree."""
    down, up = config.get("down_block_types") or (), config.get("up_block_types") or ()
    known = {"DownBlock2D": False, "CrossAttnDownBlock2D": True, "UpBlock2D": False, "CrossAttnUpBlock2D": True}
    strange = [name for name in (*down, *up) if name not in known]
    crossed = [known.get(name) for name in down]
    if strange or crossed != [known.get(name) for name in reversed(up)] or not crossed:
        raise CheckpointError(
            "U-Net config has unsupported blocks",
            expected="DownBlock2D or CrossAttnDownBlock2D, and the same on the way up",
            found=", ".join(strange or (*down, *up)) or "none",
        )
    if config.get("mid_block_type", "UNetMidBlock2DCrossAttn") != "UNetMidBlock2DCrossAttn":
        raise CheckpointError(
            "U-Net config has an unsupported middle",
            expected="UNetMidBlock2DCrossAttn",
            found=config.get("mid_block_type"),
        )
    return [bool(each) for each in crossed]


def _of_each(value: int | Sequence[int], levels: int) -> list[int]:
    if isinstance(value, int):
        return [value] * levels
    if len(value) != levels or not all(isinstance(each, int) for each in value):
        raise CheckpointError("U-Net config does not fit its levels", expected=f"{levels} counts", found=value)
    return list(value)
