"""Bundles of the tiny model, as the exporter writes them."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor

from diffes.bundle import Bundle
from diffes.checkpoint import Checkpoint
from diffes.levels import LevelGrid
from diffes.manifest import WEIGHTS, DtypeName, Graph
from diffes.presets import build_schedule, dense_schedule
from diffes.pruning.calibration import Calibration
from diffes.schedule import CompensationMode, Sampler, Schedule
from export.job import export_bundle

SAMPLER = Sampler(class_name="DDIMScheduler", steps=20, guidance=1.5)
TEN_STAGES = ((0, 0), (1, 0), (2, 1), (1, 2), (3, 3), (2, 2), (0, 3), (3, 0), (1, 1), (0, 0))  # (heads, channels) level


def levels_schedule(
    checkpoint: Checkpoint, levels: Sequence[tuple[int, int]], compensation: CompensationMode = "none"
) -> Schedule:
    """One stage per (heads level, channels level), DDIM 20 steps."""
    grid = LevelGrid.of(checkpoint.architecture.dense)
    plans = [grid.plan(heads, channels) for heads, channels in levels]
    return build_schedule(checkpoint, SAMPLER, plans, compensation, {"made_by": "test"})


def export(
    checkpoint: Checkpoint,
    levels: Sequence[tuple[int, int]],
    calibration: Calibration,
    out: Path,
    compensation: CompensationMode = "none",
) -> Bundle:
    """A bundle of one schedule `mixed` beside `dense`."""
    schedule = levels_schedule(checkpoint, levels, compensation)
    return export_bundle(checkpoint, {"mixed": schedule}, "mixed", calibration, out)


def tiny_vae() -> AutoencoderKL:
    """A random VAE of 3 latent channels that doubles height and width once."""
    torch.manual_seed(0)
    return AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        latent_channels=3,
        norm_num_groups=4,
        scaling_factor=0.25,
        shift_factor=0.1,
    ).eval()


def latent_bundle(model_folder: Path, vae: AutoencoderKL, out: Path, *, dtype: DtypeName = "float32") -> Bundle:
    """A dense bundle in `out` of the model with this VAE."""
    model = Path(shutil.copytree(model_folder, out / "model"))
    vae.save_pretrained(model / "vae")
    index = json.loads((model / "model_index.json").read_text())
    (model / "model_index.json").write_text(json.dumps(index | {"vae": ["diffusers", "AutoencoderKL"]}))
    checkpoint = Checkpoint.open(model)
    schedules = {"dense": dense_schedule(checkpoint, SAMPLER)}
    return export_bundle(checkpoint, schedules, "dense", None, out / "bundle", dtype=dtype)


def weights(bundle: Bundle, graph: Graph) -> dict[str, Tensor]:
    """What a graph's initializers are, by their names in the graph."""
    named = bundle.weights(graph)
    return {name: named[name.removeprefix(WEIGHTS)] for name in graph.prefixes}
