"""Trains a class-conditional DiT on CIFAR-10, in pixels, and saves it as a diffusers folder.

    python examples/train_cifar10_dit.py --data cifar10 --minutes 20 --device cuda
    torchrun --nproc-per-node 2 examples/train_cifar10_dit.py --data cifar10 --minutes 10 --device cuda

Model and initialisation: Peebles and Xie 2023, "Scalable Diffusion Models with Transformers".
Objective: Ho et al. 2020, "Denoising Diffusion Probabilistic Models", the error of the noise; nearly
clean images, whose noise is told least by what they show, weigh less, as in Hang et al. 2023,
"Efficient Diffusion Training via Min-SNR Weighting Strategy".
Started by torchrun, processes share every batch and draw as one would: the same weights, up to rounding.
The learning rate follows seconds of training, so the script ends when it said it would, on any
machine; --steps makes it follow steps, and then the same seed gives the same weights. --from goes on
with weights that an earlier training saved, its checkpoint lost, under a learning rate of its own.
"""

from __future__ import annotations

import argparse
import copy
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from cifar10 import CLASSES, Clock, Journal, Split, load_split, replacing, to_unit_range
from cifar10_dit import SAMPLER, TIMESTEPS, build_model, save_diffusers
from diffusers import DDIMScheduler
from diffusers.utils import SAFETENSORS_WEIGHTS_NAME
from peers import Peers
from rich.console import Console
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import get_ema_multi_avg_fn

NO_CLASS = len(CLASSES)  # what guidance contrasts with: diffusers' extra row of the label table
CHECKPOINT = "checkpoint.pt"
NOTE_EVERY = 100


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights; a training resumes under an equal recipe only."""

    minutes: float
    steps: int | None
    batch: int
    seed: int
    rate: float = 6e-4
    last_rate: float = 0.02  # part of `rate` that is left at the end
    warm_up: int = 500  # steps
    weight_decay: float = 0.01
    clip: float = 1.0
    ema: float = 0.9998
    drop_label: float = 0.1
    snr_cap: float = 5.0  # signal-to-noise ratio beyond which a timestep weighs no more than one with this ratio

    def progress(self, seconds: float, step: int) -> float:
        """Spent part of the budget, in [0, 1]."""
        return min(1.0, step / self.steps if self.steps else seconds / (60 * self.minutes))

    def rate_at(self, progress: float, step: int) -> float:
        """Warm-up, constant for half of the budget, then a cosine down to `last_rate`."""
        falling = max(0.0, 2 * progress - 1)
        cosine = (1 + math.cos(math.pi * falling)) / 2
        part = self.last_rate + (1 - self.last_rate) * cosine
        return self.rate * part * min(1.0, (step + 1) / self.warm_up)

    def ema_at(self, step: int) -> float:
        """Short memory while the first weights, which are mostly zeros, would weigh on it."""
        return min(self.ema, (1 + step) / (10 + step))


class Trainer:
    """Owns what a checkpoint holds: model, its average, optimizer, generator, step."""

    def __init__(self, recipe: Recipe, device: torch.device, peers: Peers, *, compile_model: bool) -> None:
        self.recipe, self.device, self.peers = recipe, device, peers
        torch.manual_seed(recipe.seed)
        self.model = build_model().to(device)
        self.average = copy.deepcopy(self.model).requires_grad_(False).eval()
        self.weights = list(self.model.parameters())
        self.averages = list(self.average.parameters())
        self.optimizer = torch.optim.AdamW(
            self.weights,
            lr=recipe.rate,
            betas=(0.9, 0.99),
            weight_decay=recipe.weight_decay,
            fused=device.type == "cuda",
        )
        self.generator = torch.Generator(device).manual_seed(recipe.seed)
        self.kept = DDIMScheduler(**SAMPLER).alphas_cumprod.to(device)  # signal variance
        self.step = 0
        self._order: tuple[int, Tensor] = (-1, torch.empty(0))
        self._predict: Callable[..., Any] = torch.compile(self.model, dynamic=False) if compile_model else self.model

    def warm_up(self, data: Split) -> None:
        """Compiles, changing nothing that a checkpoint holds."""
        state = self.generator.get_state()
        torch.autograd.backward(self.loss(data))
        self.optimizer.zero_grad()
        self.generator.set_state(state)

    def train_step(self, data: Split, progress: float) -> Tensor:
        """One update; returns this process's loss before it, float32 [], still on the device."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate_at(progress, self.step)
        loss = self.loss(data)
        torch.autograd.backward(loss)
        self.peers.average([weight.grad for weight in self.weights if weight.grad is not None])
        nn.utils.clip_grad_norm_(self.weights, self.recipe.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        average = get_ema_multi_avg_fn(self.recipe.ema_at(self.step))
        average(self.averages, self.weights, self.step)
        self.step += 1
        return loss.detach()

    def loss(self, data: Split) -> Tensor:
        """Weighted squared error of the predicted noise, on this process's part of this step's images."""
        images, labels, timesteps, noise = map(self.peers.part, self._drawn(data))
        kept = self.kept[timesteps, None, None, None]
        noisy = kept.sqrt() * images + (1 - kept).sqrt() * noise
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            (predicted,) = self._predict(noisy, timestep=timesteps, class_labels=labels, return_dict=False)
        weight = (self.recipe.snr_cap * (1 - kept) / kept).clamp(max=1)
        weighted: Tensor = weight * F.mse_loss(predicted.float(), noise, reduction="none")
        return weighted.mean()

    def start_from(self, folder: Path) -> None:
        """Takes the weights of a diffusers folder this script wrote; optimizer and average begin anew."""
        weights = load_file(folder / "transformer" / SAFETENSORS_WEIGHTS_NAME)
        for model in (self.model, self.average):
            model.load_state_dict({name: weight.float() for name, weight in weights.items()})

    def export(self, folder: Path) -> None:
        """Writes the averaged weights as a diffusers folder; the first of the peers does."""
        if self.peers.first:
            save_diffusers(self.average, folder)

    def save(self, path: Path, seconds: float) -> None:
        """Writes what a training resumes from; the first of the peers does."""
        if not self.peers.first:
            return
        state = {
            "recipe": asdict(self.recipe),
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state().cpu(),
            "step": self.step,
            "seconds": seconds,
        }
        with replacing(path) as partial:
            torch.save(state, partial)

    def load(self, path: Path) -> float:
        """Goes on from `path`; returns the seconds trained. Exits when the recipe differs."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["recipe"] != asdict(self.recipe):
            raise SystemExit(f"Expected the recipe of {path}, {state['recipe']}; change the options.")
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"].cpu())
        self.step = state["step"]
        return float(state["seconds"])

    def _drawn(self, data: Split) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The whole batch, the same in every process: images, labels, timesteps, noise."""
        chosen = self._chosen(len(data))
        images = to_unit_range(data.images[chosen])
        images = torch.where(self._random(1, 1, 1) < 0.5, images.flip(-1), images)
        # One decision a sample for the whole model: see cifar10_dit.py.
        dropped = self._random() < self.recipe.drop_label
        labels = data.labels[chosen].masked_fill(dropped, NO_CLASS)
        # Stratified: each batch covers the trajectory evenly, so the gradient varies less.
        batch = self.recipe.batch
        places = (torch.arange(batch, device=self.device) + self._random()) / batch
        timesteps = (places * TIMESTEPS).long().clamp(max=TIMESTEPS - 1)
        noise = torch.randn(images.shape, generator=self.generator, device=self.device)
        return images, labels, timesteps, noise

    def _random(self, *shape: int) -> Tensor:
        size = (self.recipe.batch, *shape)
        return torch.rand(size, generator=self.generator, device=self.device)

    def _chosen(self, count: int) -> Tensor:
        """Indices of this step's images: each epoch is one shuffle, known from its number."""
        steps_an_epoch = count // self.recipe.batch
        epoch, place = divmod(self.step, steps_an_epoch)
        if self._order[0] != epoch:
            shuffle = torch.Generator().manual_seed(self.recipe.seed + epoch)
            self._order = epoch, torch.randperm(count, generator=shuffle).to(self.device)
        return self._order[1][place * self.recipe.batch :][: self.recipe.batch]


def train(trainer: Trainer, data: Split, clock: Clock, options: argparse.Namespace) -> bool:
    """Trains until the budget is spent (True) or a pause was asked for (False)."""
    peers = trainer.peers
    journal = Journal(options.work / "log.jsonl", options.console)
    total, counted, noted = torch.zeros((), device=trainer.device), 0, clock.seconds
    saved = seen = clock.seconds
    while (progress := peers.agreed(trainer.recipe.progress(clock.seconds, trainer.step))) < 1:
        total, counted = total + trainer.train_step(data, progress), counted + 1
        if trainer.step == 1 or trainer.step % NOTE_EVERY == 0:
            peers.average([total])
            loss = float(total) / counted  # waits for the device, so the clock is right below
            if not math.isfinite(loss):
                raise SystemExit(f"Loss is {loss} at step {trainer.step}; {options.work} is kept.")
            if peers.first:
                journal.note(
                    progress,
                    clock.seconds,
                    step=trainer.step,
                    loss=loss,
                    rate=trainer.recipe.rate_at(progress, trainer.step),
                    images_a_second=counted * trainer.recipe.batch / (clock.seconds - noted),
                )
            total, counted, noted = torch.zeros_like(total), 0, clock.seconds
        now = clock.seconds
        if now - saved > 60 * options.checkpoint_minutes:
            trainer.save(options.work / CHECKPOINT, now)
            saved = now
        if seen < 60 * options.snapshot_minutes <= now:
            trainer.export(options.work / "snapshot")
        seen = now
        if trainer.step == options.pause_after_steps:
            return False
    return True


def main() -> None:
    options = parse_arguments()
    with Peers.gathered() as peers:
        options.console = Console(quiet=not peers.first)
        run(options, peers)


def run(options: argparse.Namespace, peers: Peers) -> None:
    """Trains as one of `peers`; the first of them leaves checkpoint, log and the finished model."""
    device = peers.device(options.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.set_float32_matmul_precision("high")
    checkpoint = options.work / CHECKPOINT
    if checkpoint.exists() and not options.resume:
        raise SystemExit(f"{checkpoint} exists: pass --resume to go on from it, or another --work.")
    if options.batch % peers.count:
        raise SystemExit(f"Expected a batch that {peers.count} processes share evenly, found {options.batch}.")
    recipe = Recipe(options.minutes, options.steps, options.batch, options.seed)
    trainer = Trainer(recipe, device, peers, compile_model=options.compile)
    seconds = trainer.load(checkpoint) if options.resume else 0.0
    if options.start_from and not options.resume:
        trainer.start_from(options.start_from)
    data = load_split(options.data, "train").to(device)
    if len(data) < recipe.batch:
        raise SystemExit(f"Expected a batch of at most {len(data)} images, found {recipe.batch}.")
    size = sum(weight.numel() for weight in trainer.weights) / 1e6
    options.console.print(f"{len(data)} images, {size:.1f} M weights, {peers.count} x {device.type}")
    trainer.warm_up(data)
    clock = Clock(seconds)
    done = train(trainer, data, clock, options)
    trainer.save(checkpoint, clock.seconds)
    if done:
        trainer.export(options.out)
    options.console.print(f"{trainer.step} steps in {clock.seconds:.0f} s")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder of train and test")
    parser.add_argument("--out", type=Path, default=Path("models/cifar10-dit"))
    parser.add_argument("--work", type=Path, default=Path("out/cifar10-dit"), help="checkpoints")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--steps", type=int, help="train this many steps instead of --minutes")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--from", dest="start_from", type=Path, help="begin with the weights of this folder")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --work")
    parser.add_argument("--checkpoint-minutes", type=float, default=4.0)
    parser.add_argument("--snapshot-minutes", type=float, default=8.0, help="save the average then, too")
    parser.add_argument("--pause-after-steps", type=int, help="save a checkpoint there and end")
    return parser.parse_args()


if __name__ == "__main__":
    main()
