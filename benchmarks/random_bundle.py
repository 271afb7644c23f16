"""A model of full size with random weights, and a bundle of it: enough to measure speed and memory, and nothing else.

python benchmarks/random_bundle.py dit-xl-2-256 out/dit-xl          # writes out/dit-xl/model and out/dit-xl/bundle
python benchmarks/random_bundle.py models/cifar10-dit out/cifar10   # a bundle like it of a model that is there
"""

import argparse
import json
from pathlib import Path
from typing import Any

import rich.progress
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.transformers.dit_transformer_2d import DiTTransformer2DModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from diffes.bundle import Bundle
from diffes.checkpoint import Checkpoint
from diffes.levels import LevelGrid
from diffes.manifest import DtypeName, dtype_named
from diffes.presets import build_schedule, uniform_schedule
from diffes.pruning.calibration import Calibration, CalibrationSpec
from diffes.pruning.moments import Moments
from diffes.schedule import Sampler, Schedule, StagePlan
from export.job import export_bundle

# as the published DiT-XL/2 at 256 x 256 pixels: latents 4 x 32 x 32, learned variance
CONFIGS: dict[str, dict[str, Any]] = {
    "dit-xl-2-256": {
        "num_attention_heads": 16,
        "attention_head_dim": 72,
        "num_layers": 28,
        "in_channels": 4,
        "out_channels": 8,
        "patch_size": 2,
        "sample_size": 32,
        "num_embeds_ada_norm": 1000,
        "norm_type": "ada_norm_zero",
        "norm_elementwise_affine": False,
        "activation_fn": "gelu-approximate",
        "attention_bias": True,
    }
}
# as the published VAE of DiT-XL/2: 8 x 8 pixels a latent
VAE: dict[str, Any] = {
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 256,
    "scaling_factor": 0.18215,
}
_STANDARD_DEVIATION = 0.02  # small enough that 28 blocks stay finite in 16 bits


def write_random_model(name: str, out: Path, *, seed: int = 0) -> None:
    """Write the model's folder, weights in bfloat16."""
    with torch.device("meta"):
        model = DiTTransformer2DModel(**CONFIGS[name])
    model = model.to_empty(device="cpu").to(torch.bfloat16)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.normal_(0, _STANDARD_DEVIATION, generator=generator)
        first = model.transformer_blocks[0].norm1.emb  # one embedder shared by all blocks, as in the original
        for block in model.transformer_blocks[1:]:
            block.norm1.emb.load_state_dict(first.state_dict())
    model.save_pretrained(out / "transformer")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        AutoencoderKL(**VAE).to(torch.bfloat16).save_pretrained(out / "vae")
    DDIMScheduler(beta_start=1e-4, beta_end=0.02, clip_sample=False).save_pretrained(out / "scheduler")
    index = {
        "_class_name": "DiTPipeline",
        "transformer": ["diffusers", "DiTTransformer2DModel"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "vae": ["diffusers", "AutoencoderKL"],
        "id2label": {str(label): f"class {label}" for label in range(CONFIGS[name]["num_embeds_ada_norm"])},
    }
    (out / "model_index.json").write_text(json.dumps(index, indent=1) + "\n")


def schedules_of(checkpoint: Checkpoint) -> dict[str, Schedule]:
    """Three schedules by name.

    `half` is 50 % everywhere; `ten` has ten stages of all widths, `uneven` ten that lose about half on average. No two
    stages of these are alike.
    """
    sampler = Sampler(class_name="DDIMScheduler", steps=20, guidance=1.5)
    grid = LevelGrid.of(checkpoint.architecture.dense)
    plans = [grid.plan(level, level) for level in range(min(10, grid.parts))]
    return {
        "half": uniform_schedule(checkpoint, sampler, 0.5, 10, "none"),
        "ten": build_schedule(checkpoint, sampler, plans, "none", {"made_by": "benchmark"}),
        "uneven": build_schedule(checkpoint, sampler, uneven_plans(grid), "none", {"made_by": "benchmark"}),
    }


def write_random_bundle(
    checkpoint: Checkpoint, schedules: dict[str, Schedule], out: Path, dtype: DtypeName, *, verify: bool = True
) -> Bundle:
    """Write a bundle of these schedules; the first is its default."""
    with rich.progress.Progress() as bars:
        task = bars.add_task("exporting", total=1)

        def tell(what: str, share: float) -> None:
            bars.update(task, description=what, completed=share)

        return export_bundle(
            checkpoint,
            schedules,
            next(iter(schedules)),
            as_stored(checkpoint),
            out,
            dtype=dtype,
            overwrite=True,
            verify=verify,
            progress=tell,
        )


def uneven_plans(grid: LevelGrid) -> list[StagePlan]:
    """Ten plans of which no two are alike: at most two levels to either side of one half, and half on average."""
    half = grid.parts // 2
    aside = [(-2, 2), (2, -2), (-1, 1), (1, -1), (0, 0), (1, 1), (-1, -1), (2, 1), (-2, -1), (0, 1)]
    return [grid.plan(half + heads, half + channels) for heads, channels in aside]


def as_stored(checkpoint: Checkpoint) -> Calibration:
    """The order units happen to have: of random ones none matters more. Without moments, for none are asked for."""
    order = {layer.projection: torch.arange(layer.units) for layer in checkpoint.architecture.layers}
    spec = CalibrationSpec(Sampler(class_name="DDIMScheduler", steps=20, guidance=1.5))
    return Calibration(
        checkpoint.identity.fingerprint,
        spec,
        {spec.ordering: order},
        Moments({}, {}, 0),
        {},
        checkpoint.architecture,
    )


def main() -> None:
    """Write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help=f"one of {', '.join(CONFIGS)} to write it with random weights, or a folder")
    parser.add_argument("out", type=Path)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--schedule", action="append", choices=["half", "ten", "uneven"], help="default: all")
    parser.add_argument("--no-verify", dest="verify", action="store_false", help="do not run the graphs: minutes less")
    options = parser.parse_args()
    folder = Path(options.model)
    if options.model in CONFIGS:
        folder = options.out / "model"
        write_random_model(options.model, folder)
    checkpoint = Checkpoint.open(folder)
    made = schedules_of(checkpoint)
    schedules = {name: made[name] for name in options.schedule or made}
    out, dtype = options.out / "bundle", dtype_named(options.dtype)
    write_random_bundle(checkpoint, schedules, out, dtype, verify=options.verify)


if __name__ == "__main__":
    main()
