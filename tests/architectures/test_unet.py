from typing import Any

import pytest

from diffes.architectures.unet import UNet
from diffes.architectures.unet_tree import Blocks, Keep, Resnet
from diffes.errors import CheckpointError
from diffes.levels import LevelGrid
from tests.architectures.tiny import tiny_unet

SDXL = {
    "act_fn": "silu",
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "attention_head_dim": [5, 10, 20],
    "block_out_channels": [320, 640, 1280],
    "cross_attention_dim": 2048,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 4,
    "out_channels": 4,
    "layers_per_block": 2,
    "norm_eps": 1e-5,
    "norm_num_groups": 32,
    "projection_class_embeddings_input_dim": 2816,
    "sample_size": 128,
    "transformer_layers_per_block": [1, 2, 10],
    "use_linear_projection": True,
}


def test_sdxls_own_numbers() -> None:
    unet = UNet.from_config(SDXL)

    assert len(unet.blocks) == 70
    assert sorted({(block.heads, block.channels) for block in unet.dense}) == [(10, 2560), (20, 5120)]
    assert {unet.head_dim(block) for block in range(70)} == {64}
    assert sum(isinstance(node, Resnet) for node in unet.nodes) == 17
    assert unet.text_width == 2 * (60 * 1280 + 10 * 640)
    # 6.76 TFLOP at 1024 x 1024 with all that our conditions calculate once
    assert 2 * unet.macs(unet.dense) / 1e12 == pytest.approx(6.71, abs=0.01)
    # of 2,567.5 million: less keys and values of the text, and what embeds time
    assert unet.parameters(unet.dense) / 1e6 == pytest.approx(2201.75, abs=0.01)


def test_levels_are_whole_heads_of_both_widths() -> None:
    grid = LevelGrid.of(UNet.from_config(SDXL).dense)

    assert grid.parts == 10
    assert sorted(set(grid.plan(3, 5))) == [(7, 1280), (14, 2560)]


def test_what_is_kept_on_the_way_down_is_used_on_the_way_up() -> None:
    nodes = UNet.from_config(SDXL).nodes

    assert sum(isinstance(node, Keep) for node in nodes) == sum(
        isinstance(node, Resnet) and node.skip > 0 for node in nodes
    )
    ends = [node.text + 2 * node.depth * node.channels for node in nodes if isinstance(node, Blocks)]
    begins = [node.text for node in nodes if isinstance(node, Blocks)]
    assert begins == [0, *ends[:-1]]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"time_cond_proj_dim": 256}, "unsupported time_cond_proj_dim.*found 256"),
        ({"use_linear_projection": False}, "unsupported use_linear_projection"),
        ({"resnet_time_scale_shift": "scale_shift"}, "unsupported resnet_time_scale_shift"),
        (
            {"down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D"]},
            "unsupported blocks.*AttnDownBlock2D",
        ),
        ({"mid_block_type": "UNetMidBlock2D"}, "unsupported middle"),
        ({"attention_head_dim": [5, 10]}, "does not fit its levels"),
        ({"projection_class_embeddings_input_dim": 1536}, "has no projection_class_embeddings_input_dim"),
        ({"sample_size": None}, "has no sample_size"),
    ],
)
def test_what_a_step_would_compute_wrongly_is_refused(change: dict[str, Any], told: str) -> None:
    with pytest.raises(CheckpointError, match=told):
        UNet.from_config(SDXL | change)


def test_a_state_of_another_config_is_refused() -> None:
    model = tiny_unet()
    unet, state = UNet.from_config(model.config), model.state_dict()

    with pytest.raises(CheckpointError, match="lacks a tensor: expected conv_in.bias"):
        unet.convert({name: tensor for name, tensor in state.items() if name != "conv_in.bias"})
    with pytest.raises(CheckpointError, match="does not name: found strange"):
        unet.convert({**state, "strange": state["conv_in.bias"]})
    with pytest.raises(CheckpointError, match=r"does not fit its config at conv_in\.weight"):
        unet.convert({**state, "conv_in.weight": state["conv_in.weight"][:, :2]})
