"""Judges a class-conditional pixel model as diffusers itself runs it.

    python benchmarks/model_quality.py models/cifar10-dit --out out/model-quality --images 10000

Images come from diffusers' model and sampler alone, so the figures are the reference that every
pruned or exported form of the same model is held against. Image i has class i mod classes and the
noise of seed i, whatever the batch. Writes quality.json and sheet.png.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import DDIMScheduler, DiTTransformer2DModel
from PIL import Image
from rich.console import Console
from rich.progress import track
from torch import Tensor

from diffes.precision import full_float32, tf32
from diffes.quality.features import FeatureExtractor
from diffes.quality.frechet import GaussianStatistics, frechet_distance
from diffes.quality.similarity import class_accuracy

SHEET_COLUMNS = 8
SHEET_SCALE = 2


@dataclass(frozen=True)
class Sampling:
    """What decides an image besides the model and its number."""

    steps: int
    guidance: float
    batch: int
    overrides: dict[str, Any]  # of the folder's sampler, for comparing settings


class Model:
    """A diffusers folder: transformer and sampler, float32."""

    def __init__(self, folder: Path, device: torch.device, overrides: dict[str, Any]) -> None:
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
        self.classes = [name for _, name in sorted_by_number(index["id2label"])]
        self.device = device
        self.scheduler = DDIMScheduler.from_pretrained(folder, subfolder="scheduler", **overrides)
        self.transformer = (
            DiTTransformer2DModel.from_pretrained(
                folder,
                subfolder="transformer",
                torch_dtype=torch.float32,
                use_safetensors=True,
                low_cpu_mem_usage=False,  # True asks for accelerate
            )
            .to(device)
            .eval()
        )

    @torch.inference_mode()
    def sample(self, numbers: range, steps: int, guidance: float) -> Tensor:
        """Images float32 [N, 3, H, W] in [-1, 1], on the CPU."""
        config = self.transformer.config
        shape = (config.in_channels, config.sample_size, config.sample_size)
        seeds = (torch.Generator().manual_seed(number) for number in numbers)
        images = torch.stack([torch.randn(shape, generator=seed) for seed in seeds])
        images = images.to(self.device)
        wanted = torch.tensor([number % len(self.classes) for number in numbers])
        labels = torch.cat([wanted, torch.full_like(wanted, len(self.classes))]).to(self.device)
        self.scheduler.set_timesteps(steps)
        for timestep in self.scheduler.timesteps:
            (noise,) = self.transformer(
                torch.cat([images, images]),
                timestep=timestep.to(self.device).expand(len(labels)),
                class_labels=labels,
                return_dict=False,
            )
            labelled, unlabelled = noise.chunk(2)
            guided = unlabelled + guidance * (labelled - unlabelled)
            images = self.scheduler.step(guided, timestep, images, return_dict=False)[0]
        clipped: Tensor = images.clamp(-1, 1).cpu()
        return clipped


def sorted_by_number(labels: dict[str, str]) -> list[tuple[int, str]]:
    """diffusers writes class numbers as text; sorted as text, 10 would come before 2."""
    return sorted((int(number), name) for number, name in labels.items())


def measure(model: Model, extractor: FeatureExtractor, count: int, sampling: Sampling) -> tuple[dict[str, Any], Tensor]:
    """Figures of `count` images, and the first of them for the sheet."""
    features, predicted, shown, seconds = [], [], [], 0.0
    starts = range(0, count, sampling.batch)
    for start in track(starts, description="sampling", disable=not Console().is_terminal):
        began = time.perf_counter()
        numbers = range(start, min(start + sampling.batch, count))
        images = model.sample(numbers, sampling.steps, sampling.guidance)
        seconds += time.perf_counter() - began
        seen = extractor(quantized(images))
        features.append(extractor.whiten(seen.features))
        predicted.append(seen.labels)
        if start < SHEET_COLUMNS * len(model.classes):
            shown.append(images)
    found = GaussianStatistics.from_features(np.concatenate(features))
    reference = extractor.statistics.whitened_by(extractor.statistics)
    figures = {
        "images": count,
        "class_accuracy": class_accuracy(np.concatenate(predicted), np.arange(count) % len(model.classes)),
        "frechet_distance_to_data": frechet_distance(found, reference),
        "sampling_seconds": round(seconds, 1),
    }
    return figures, torch.cat(shown)


def quantized(images: Tensor) -> Tensor:
    """The images as an 8-bit file would hold them: a viewer never sees more."""
    return ((images + 1) * 127.5).round() / 127.5 - 1


def sheet(images: Tensor, classes: int) -> Image.Image:
    """One row a class, `SHEET_COLUMNS` images each; image i has class i mod classes."""
    columns = min(len(images) // classes, SHEET_COLUMNS)
    rows = images[: columns * classes].reshape(columns, classes, *images.shape[1:])
    pixels = ((rows + 1) * 127.5).round().byte().permute(1, 3, 0, 4, 2)  # class, y, column, x, rgb
    height, width = pixels.shape[0] * pixels.shape[1], pixels.shape[2] * pixels.shape[3]
    image = Image.fromarray(pixels.reshape(height, width, 3).numpy())
    return image.resize((width * SHEET_SCALE, height * SHEET_SCALE), Image.Resampling.NEAREST)


def main() -> None:
    options = parse_arguments()
    device = torch.device(options.device)
    overrides = {"timestep_spacing": options.timestep_spacing, "clip_sample": options.clip_sample}
    sampling = Sampling(
        options.steps,
        options.guidance,
        options.batch,
        {name: value for name, value in overrides.items() if value is not None},
    )
    model = Model(options.model, device, sampling.overrides)
    extractor = FeatureExtractor.load(options.features, device)
    with tf32() if options.tf32 else full_float32():
        figures, images = measure(model, extractor, options.images, sampling)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    report = {
        "model": options.model.name,
        **figures,
        "steps": sampling.steps,
        "guidance": sampling.guidance,
        "sampler": type(model.scheduler).__name__,
        "timestep_spacing": model.scheduler.config.timestep_spacing,
        "clip_sample": model.scheduler.config.clip_sample,
        "device": name or platform.machine(),
        "precision": "tf32" if device.type == "cuda" and options.tf32 else "float32",
        "versions": {"torch": torch.__version__, "diffusers": diffusers.__version__},
    }
    options.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, indent=2) + "\n"
    (options.out / "quality.json").write_text(text, encoding="utf-8")
    sheet(images, len(model.classes)).save(options.out / "sheet.png")
    Console().print_json(text)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path, help="diffusers folder")
    parser.add_argument("--features", type=Path, default=Path("models/cifar10-features"))
    parser.add_argument("--out", type=Path, default=Path("out/model-quality"))
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=1.5)
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--tf32", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--timestep-spacing", choices=["leading", "trailing", "linspace"])
    parser.add_argument("--clip-sample", action=argparse.BooleanOptionalAction)
    return parser.parse_args()


if __name__ == "__main__":
    main()
