"""What the training scripts of generative models share: the recipe, the loop, checkpoints, and who takes part.

The learning rate follows seconds of training, so a script ends when it said it would, on any machine; --steps makes it
follow steps, and then the same seed gives the same weights. --from goes on with weights that an earlier training saved,
its checkpoint lost, under a learning rate of its own. Started by torchrun, processes share every batch and draw as one
would: the same weights, up to rounding.
"""

from __future__ import annotations

import argparse
import copy
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from cifar10 import Clock, Journal, Split, replacing
from peers import Peers
from rich.console import Console
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

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

    def noise_weight(self, kept: Tensor) -> Tensor:
        """Of a noise's error where that share of the variance is signal: Min-SNR (Hang et al. 2023)."""
        return (self.snr_cap * (1 - kept) / kept).clamp(max=1)


class Task(Protocol):
    """What is trained."""

    def build(self) -> nn.Module:
        """The model as it begins; torch's own generator is seeded."""

    def loss(self, trainer: Trainer, data: Split) -> Tensor:
        """Of this process's part of the step's images, [], on the device."""

    def read(self, folder: Path) -> dict[str, Tensor]:
        """The model's state from a folder that `save` wrote."""

    def save(self, model: Any, folder: Path) -> None:
        """Write what the training is for."""


class Trainer:
    """Owns what a checkpoint holds: model, its average, optimizer, generator, step."""

    def __init__(self, recipe: Recipe, task: Task, device: torch.device, peers: Peers, *, compile_model: bool) -> None:
        self.recipe, self.task, self.device, self.peers = recipe, task, device, peers
        torch.manual_seed(recipe.seed)
        self.model: Any = task.build().to(device)
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
        self.step = 0
        self._order: tuple[int, Tensor] = (-1, torch.empty(0))
        self.predict: Callable[..., Any] = torch.compile(self.model, dynamic=False) if compile_model else self.model

    def warm_up(self, data: Split) -> None:
        """Compiles, changing nothing that a checkpoint holds."""
        state = self.generator.get_state()
        torch.autograd.backward(self.task.loss(self, data))
        self.optimizer.zero_grad()
        self.generator.set_state(state)

    def train_step(self, data: Split, progress: float) -> Tensor:
        """One update; returns this process's loss before it, float32 [], still on the device."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate_at(progress, self.step)
        loss = self.task.loss(self, data)
        torch.autograd.backward(loss)
        self.peers.average([weight.grad for weight in self.weights if weight.grad is not None])
        nn.utils.clip_grad_norm_(self.weights, self.recipe.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        average = get_ema_multi_avg_fn(self.recipe.ema_at(self.step))
        average(self.averages, self.weights, self.step)
        self.step += 1
        return loss.detach()

    def start_from(self, folder: Path) -> None:
        """Takes the weights of a folder this script wrote; optimizer and average begin anew."""
        weights = {name: weight.float() for name, weight in self.task.read(folder).items()}
        for model in (self.model, self.average):
            model.load_state_dict(weights)

    def export(self, folder: Path) -> None:
        """Writes the averaged weights; the first of the peers does."""
        if self.peers.first:
            self.task.save(self.average, folder)

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

    def random(self, *shape: int) -> Tensor:
        """Uniform numbers for every image of the batch."""
        size = (self.recipe.batch, *shape)
        return torch.rand(size, generator=self.generator, device=self.device)

    def spread(self) -> Tensor:
        """Stratified uniform numbers: each batch covers [0, 1) evenly, so the gradient varies less."""
        batch = self.recipe.batch
        return (torch.arange(batch, device=self.device) + self.random()) / batch

    def chosen(self, count: int) -> Tensor:
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


def run(options: argparse.Namespace, recipe: Recipe, task: Task, peers: Peers, data: Split) -> None:
    """Trains as one of `peers`; the first of them leaves checkpoint, log and the finished model."""
    device = placed(options, peers)
    checkpoint = options.work / CHECKPOINT
    if checkpoint.exists() and not options.resume:
        raise SystemExit(f"{checkpoint} exists: pass --resume to go on from it, or another --work.")
    if recipe.batch % peers.count:
        raise SystemExit(f"Expected a batch that {peers.count} processes share evenly, found {recipe.batch}.")
    trainer = Trainer(recipe, task, device, peers, compile_model=options.compile)
    resumed = options.resume and checkpoint.exists()
    seconds = trainer.load(checkpoint) if resumed else 0.0
    if options.start_from and not resumed:
        trainer.start_from(options.start_from)
    data = data.to(device)
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


def placed(options: argparse.Namespace, peers: Peers) -> torch.device:
    """Where this process calculates; says how quiet it is to be, and how exact."""
    options.console = Console(quiet=not peers.first)
    device = peers.device(options.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.set_float32_matmul_precision("high")
    return device


def arguments(description: str | None, name: str, *, batch: int, minutes: float) -> argparse.ArgumentParser:
    """The options of every training; `name` is the model's folder."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0] if description else None)
    parser.add_argument("--data", type=Path, required=True, help="folder of train and test")
    parser.add_argument("--out", type=Path, default=Path("models") / name)
    parser.add_argument("--work", type=Path, default=Path("out") / name, help="checkpoints")
    parser.add_argument("--minutes", type=float, default=minutes)
    parser.add_argument("--steps", type=int, help="train this many steps instead of --minutes")
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--from", dest="start_from", type=Path, help="begin with the weights of this folder")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --work")
    parser.add_argument("--checkpoint-minutes", type=float, default=4.0)
    parser.add_argument("--snapshot-minutes", type=float, default=8.0, help="save the average then, too")
    parser.add_argument("--pause-after-steps", type=int, help="save a checkpoint there and end")
    return parser
