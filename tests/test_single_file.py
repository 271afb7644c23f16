"""A checkpoint in one file, as the tools that train SDXL write it, and the folder that comes of it."""

from pathlib import Path

import pytest
import torch
from diffusers.loaders.single_file_utils import DIFFUSERS_TO_LDM_MAPPING
from safetensors.torch import load_file, save_file
from torch import Tensor
from typer.testing import CliRunner

from diffes.checkpoint import Checkpoint
from diffes.cli import app
from diffes.errors import CheckpointError, InvalidInput
from diffes.single_file import unpack
from tests.sdxl import save, tiny_pipeline

LAYERS = 1  # resnets a level of the tiny U-Net
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
VAE = {
    "mid_block.attentions.0.to_out.0": "mid.attn_1.proj_out",
    "mid_block.attentions.0.to_": "mid.attn_1.",
    "mid_block.attentions.0.group_norm": "mid.attn_1.norm",
    "mid_block.resnets.0": "mid.block_1",
    "mid_block.resnets.1": "mid.block_2",
    "conv_norm_out": "norm_out",
    "conv_shortcut": "nin_shortcut",
}


def unet_name(name: str) -> str:
    """A tensor of the U-Net as such files call it."""
    fixed = {**DIFFUSERS_TO_LDM_MAPPING["unet"]["layers"], **DIFFUSERS_TO_LDM_MAPPING["unet"]["addition_embed_type"]}
    if name in fixed:
        return str(fixed[name])
    part, *rest = name.split(".")
    if part == "mid_block":
        place = {("resnets", "0"): "0", ("attentions", "0"): "1", ("resnets", "1"): "2"}[rest[0], rest[1]]
        at, inner = f"middle_block.{place}", rest[2:]
    else:
        level, kind, number = int(rest[0]), rest[1], int(rest[2])
        inner = rest[3:]
        block = level * (LAYERS + 1) + number
        if kind == "downsamplers":
            return f"input_blocks.{(level + 1) * (LAYERS + 1)}.0.op.{inner[-1]}"
        if kind == "upsamplers":
            return f"output_blocks.{level * (LAYERS + 1) + LAYERS}.{2 if level == 0 else 1}.conv.{inner[-1]}"
        first = "input_blocks" if part == "down_blocks" else "output_blocks"
        at = f"{first}.{block + (part == 'down_blocks')}.{int(kind == 'attentions')}"
    return ".".join([at, *(inner if "attentions" in rest[:2] else map(_of_resnet, inner))])


def _of_resnet(name: str) -> str:
    return RESNET.get(name, name)


def vae_name(name: str) -> str:
    """A tensor of the VAE as such files call it."""
    for ours, theirs in VAE.items():
        name = name.replace(ours, theirs)
    parts = name.split(".")
    if len(parts) > 2 and parts[1] in ("down_blocks", "up_blocks"):
        level = int(parts[2]) if parts[1] == "down_blocks" else 1 - int(parts[2])
        way = "down" if parts[1] == "down_blocks" else "up"
        if parts[3] in ("downsamplers", "upsamplers"):
            return f"{parts[0]}.{way}.{level}.{way}sample.conv.{parts[-1]}"
        return ".".join([parts[0], way, str(level), "block", *parts[4:]])
    return name


def open_clip(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The second text encoder as such files hold it: queries, keys and values in one."""
    names = {
        "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
        "text_model.embeddings.position_embedding.weight": "positional_embedding",
        "text_model.final_layer_norm.weight": "ln_final.weight",
        "text_model.final_layer_norm.bias": "ln_final.bias",
    }
    out = {"text_projection": state["text_projection.weight"].T.contiguous()}
    for name, tensor in state.items():
        if name in names:
            out[names[name]] = tensor
        elif ".layers." in name and "_proj." not in name:
            inner = name.removeprefix("text_model.encoder.layers.")
            for ours, theirs in (("layer_norm", "ln_"), ("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj")):
                inner = inner.replace(ours, theirs)
            out[f"transformer.resblocks.{inner}"] = tensor
    layers = {name.split(".")[3] for name in state if ".layers." in name}
    for layer in layers:
        at, to = f"text_model.encoder.layers.{layer}.self_attn", f"transformer.resblocks.{layer}.attn"
        for part in ("weight", "bias"):
            out[f"{to}.in_proj_{part}"] = torch.cat([state[f"{at}.{which}_proj.{part}"] for which in "qkv"])
            out[f"{to}.out_proj.{part}"] = state[f"{at}.out_proj.{part}"]
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder, its weights in float16."""
    return save(tiny_pipeline().to(torch.float16), tmp_path_factory.mktemp("models") / "folder")


@pytest.fixture(scope="module")
def file(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in one file."""
    parts = {
        part: load_file(next((folder / part).glob("*.safetensors")))
        for part in ("unet", "vae", "text_encoder", "text_encoder_2")
    }
    state = {f"model.diffusion_model.{unet_name(name)}": tensor for name, tensor in parts["unet"].items()}
    for name, tensor in parts["vae"].items():
        attention = ".attentions." in name and tensor.dim() == 2
        state[f"first_stage_model.{vae_name(name)}"] = tensor[:, :, None, None] if attention else tensor
    bare = {name.removeprefix("text_model."): tensor for name, tensor in parts["text_encoder"].items()}
    state |= {f"conditioner.embedders.0.transformer.text_model.{name}": tensor for name, tensor in bare.items()}
    second = open_clip(parts["text_encoder_2"])
    state |= {f"conditioner.embedders.1.model.{name}": tensor for name, tensor in second.items()}
    path = tmp_path_factory.mktemp("files") / "model.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return path


def test_a_file_becomes_the_folder_it_was_made_of(file: Path, folder: Path, tmp_path: Path) -> None:
    unpack(file, folder, tmp_path / "out")
    expected, found = Checkpoint.open(folder), Checkpoint.open(tmp_path / "out")

    assert found.config == expected.config
    ours, theirs = found.weights(), expected.weights()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], tensor) and ours[name].dtype == tensor.dtype for name, tensor in theirs.items())
    vaes = [load_file(next((each / "vae").glob("*.safetensors"))) for each in (folder, tmp_path / "out")]
    assert all(torch.equal(vaes[1][name], tensor) for name, tensor in vaes[0].items())


def test_a_folder_that_holds_files_is_left_alone(file: Path, folder: Path) -> None:
    with pytest.raises(InvalidInput, match="invalid out: expected a new folder"):
        unpack(file, folder, folder)


def test_what_is_no_checkpoint_is_refused(folder: Path, tmp_path: Path) -> None:
    pickle, other, damaged = tmp_path / "model.ckpt", tmp_path / "other.safetensors", tmp_path / "damaged.safetensors"
    pickle.write_bytes(b"not even a pickle")
    save_file({"a": torch.zeros(2)}, other)
    damaged.write_bytes(b"nothing")
    for path, match in ((pickle, "may run code"), (other, "cannot be unpacked.*--config"), (damaged, "is damaged")):
        with pytest.raises(CheckpointError, match=match):
            unpack(path, folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_where_a_folder_is_wanted_is_to_be_unpacked_first(file: Path) -> None:
    with pytest.raises(CheckpointError, match="is a file.*diffes unpack"):
        Checkpoint.open(file)


def test_the_command_writes_a_folder_that_opens(file: Path, folder: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["unpack", str(file), "--config", str(folder), "--out", str(tmp_path / "out")])

    assert done.exit_code == 0, done.output
    assert Checkpoint.open(tmp_path / "out").texts
