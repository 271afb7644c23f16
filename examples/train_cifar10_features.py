"""Trains the small CIFAR-10 classifier that Diffes judges images by.

    python examples/train_cifar10_features.py --data cifar10 --device cuda

Recipe: Page 2018, "How to Train Your ResNet": SGD with Nesterov momentum, one learning-rate
cycle, label smoothing; flips, shifts and cutout are done on the device, a whole batch at once.
The schedule runs on seconds (or --steps), so the script ends when it said it would.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from cifar10 import CLASSES, SIDE, Clock, Journal, Split, load_split, replacing, to_unit_range
from rich.console import Console
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from diffes.precision import full_float32
from diffes.quality.features import (
    CONFIG_FILE,
    STATISTICS_FILE,
    WEIGHTS_FILE,
    FeatureNet,
    FeatureNetConfig,
)
from diffes.quality.frechet import GaussianStatistics
from diffes.quality.similarity import class_accuracy

PEAK_RATE = 0.4
WARM_UP = 0.2  # part of the training in which the rate rises
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4
LABEL_SMOOTHING = 0.1
SHIFT = 4  # pixels an image moves at most, each way
HOLE = 12  # pixels cutout blanks, each way
NOTE_EVERY = 200


@dataclass(frozen=True)
class Budget:
    """How long to train: seconds, or steps where the result must not depend on the machine."""

    seconds: float
    steps: int | None

    def progress(self, seconds: float, step: int) -> float:
        """How much of it is spent, in [0, 1]."""
        return min(1.0, step / self.steps if self.steps else seconds / self.seconds)


def main() -> None:
    options = parse_arguments()
    console = Console()
    device = torch.device(options.device)
    torch.manual_seed(options.seed)
    torch.backends.cudnn.benchmark = True
    data = load_split(options.data, "train").to(device)
    console.print(f"{len(data)} training images; features go to {options.out}")
    net = FeatureNet(FeatureNetConfig(CLASSES))
    net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    journal = Journal(options.out / "log.jsonl", console)
    steps, seconds = train(net, data, options.batch, Budget(options.seconds, options.steps), journal)
    net = round_to_half(net)
    save(net, data, options.out)
    accuracy = class_accuracy(*classify(net, load_split(options.data, "test").to(device)))
    console.print(f"test accuracy {accuracy:.4f} after {steps} steps in {seconds:.1f} s")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder of train and test")
    parser.add_argument("--out", type=Path, default=Path("models/cifar10-features"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--steps", type=int, help="train this many steps instead of --seconds")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def train(net: FeatureNet, data: Split, batch: int, budget: Budget, journal: Journal) -> tuple[int, float]:
    """Trains in place; returns steps and seconds."""
    if batch > len(data):
        raise SystemExit(f"Expected a batch of at most {len(data)} images, found {batch}.")
    optimizer = torch.optim.SGD(
        net.parameters(), momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, nesterov=True, lr=PEAK_RATE
    )
    net.train()
    clock, step = Clock(), 0
    order = torch.empty(0, dtype=torch.int64, device=data.labels.device)
    while (progress := budget.progress(clock.seconds, step)) < 1:
        if len(order) < batch:
            order = torch.randperm(len(data), device=data.labels.device)
        chosen, order = order[:batch], order[batch:]
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(progress)
        loss = training_step(net, optimizer, data.images[chosen], data.labels[chosen])
        step += 1
        if step % NOTE_EVERY == 0:
            journal.note(progress, clock.seconds, step=step, loss=float(loss))
    return step, clock.seconds


def learning_rate(progress: float) -> float:
    """One cycle: a straight rise, then a straight fall to 0."""
    return PEAK_RATE * min(progress / WARM_UP, (1 - progress) / (1 - WARM_UP))


def training_step(net: FeatureNet, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor) -> Tensor:
    inputs = augment(to_unit_range(images)).contiguous(memory_format=torch.channels_last)
    with torch.autocast(inputs.device.type, torch.bfloat16, enabled=inputs.is_cuda):
        logits = net(inputs)
    loss = F.cross_entropy(logits.float(), labels, label_smoothing=LABEL_SMOOTHING)
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    optimizer.step()
    return loss.detach()


def augment(images: Tensor) -> Tensor:
    """Flips, shifts and blanks a square of each image of [N, 3, 32, 32], each in its own way."""
    count, device = len(images), images.device
    flipped = torch.rand(count, 1, 1, 1, device=device) < 0.5
    images = torch.where(flipped, images.flip(-1), images)
    padded = F.pad(images, (SHIFT,) * 4, mode="reflect")
    pixels = torch.arange(SIDE, device=device)
    rows, columns = (torch.randint(2 * SHIFT + 1, (count, 1), device=device) + pixels for _ in range(2))
    image = torch.arange(count, device=device)[:, None, None]
    # Indices on both sides of a slice put its dimension last: [N, 32, 32, 3].
    moved = padded[image, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    in_rows, in_columns = (_span(count, pixels) for _ in range(2))
    return moved.masked_fill((in_rows[:, :, None] & in_columns[:, None, :])[:, None], 0)


def _span(count: int, pixels: Tensor) -> Tensor:
    """Which of the 32 rows (or columns) of each image cutout blanks: bool [N, 32]."""
    start = torch.randint(SIDE - HOLE + 1, (count, 1), device=pixels.device)
    return (pixels >= start) & (pixels < start + HOLE)


def round_to_half(net: FeatureNet) -> FeatureNet:
    """The network as a reader of the saved float16 weights gets it, in float32."""
    rounded = FeatureNet(net.config)
    rounded.load_state_dict(half_weights(net))
    return rounded.to(next(net.parameters()).device).eval().requires_grad_(False)


def half_weights(net: FeatureNet) -> dict[str, Tensor]:
    weights = {}
    for name, value in net.state_dict().items():
        if value.is_floating_point():
            value = value.half()
            if not value.isfinite().all():
                raise SystemExit(f"Expected weights that fit float16, found infinities in {name}.")
        weights[name] = value.cpu().contiguous()
    return weights


def save(net: FeatureNet, data: Split, folder: Path) -> None:
    """Writes the folder that `FeatureExtractor.load` opens."""
    statistics = GaussianStatistics.from_features(features_of(net, data))
    statistics.whitening()  # refuses features that no reader could use
    with replacing(folder / WEIGHTS_FILE) as path:
        save_file(half_weights(net), path)
    with replacing(folder / STATISTICS_FILE) as path:
        arrays = {
            "mean": statistics.mean,
            "covariance": statistics.covariance,
            "count": np.array(statistics.count),
        }
        save_arrays(arrays, path)
    with replacing(folder / CONFIG_FILE) as path:
        path.write_text(net.config.to_json(), encoding="utf-8")


@torch.inference_mode()
def features_of(net: FeatureNet, data: Split) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Features float64 [N, d] of the unchanged images."""
    with full_float32():
        chunks = [net.features(to_unit_range(part)).double().cpu() for part in _parts(data)]
    return torch.cat(chunks).numpy()


@torch.inference_mode()
def classify(net: FeatureNet, data: Split) -> tuple[Tensor, Tensor]:
    """Predicted and true classes, each int64 [N]."""
    with full_float32():
        chunks = [net(to_unit_range(part)).argmax(dim=1) for part in _parts(data)]
    return torch.cat(chunks), data.labels


def _parts(data: Split, size: int = 1000) -> tuple[Tensor, ...]:
    return torch.split(data.images, size)


if __name__ == "__main__":
    main()
