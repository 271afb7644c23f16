"""Trains a class-conditional DiT on CIFAR-10, in pixels, and saves it as a diffusers folder.

    python examples/train_cifar10_dit.py --data cifar10 --minutes 20 --device cuda
    torchrun --nproc-per-node 2 examples/train_cifar10_dit.py --data cifar10 --minutes 10 --device cuda

Model and initialisation: Peebles and Xie 2023, "Scalable Diffusion Models with Transformers".
Objective: Ho et al. 2020, "Denoising Diffusion Probabilistic Models", the error of the noise; nearly
clean images, whose noise is told least by what they show, weigh less, as in Hang et al. 2023,
"Efficient Diffusion Training via Min-SNR Weighting Strategy". How it is trained, on how many GPUs and
for how long, and how it resumes: training.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from cifar10 import CLASSES, Split, load_split, to_unit_range
from cifar10_dit import SAMPLER, TIMESTEPS, build_model, save_diffusers
from diffusers import DDIMScheduler
from diffusers.utils import SAFETENSORS_WEIGHTS_NAME
from peers import Peers
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from training import Recipe, Trainer, arguments, run

NO_CLASS = len(CLASSES)  # what guidance contrasts with: diffusers' extra row of the label table


class LabelledImages:
    """The DiT's task: the noise in an image, given its class or none."""

    def __init__(self) -> None:
        self._kept = DDIMScheduler(**SAMPLER).alphas_cumprod  # signal variance

    def build(self) -> nn.Module:
        """The model as it begins."""
        model: nn.Module = build_model()
        return model

    def loss(self, trainer: Trainer, data: Split) -> Tensor:
        """Weighted squared error of the predicted noise, on this process's part of this step's images."""
        images, labels, timesteps, noise = map(trainer.peers.part, self._drawn(trainer, data))
        kept = self._kept.to(trainer.device)[timesteps, None, None, None]
        noisy = kept.sqrt() * images + (1 - kept).sqrt() * noise
        with torch.autocast(trainer.device.type, torch.bfloat16, enabled=trainer.device.type == "cuda"):
            (predicted,) = trainer.predict(noisy, timestep=timesteps, class_labels=labels, return_dict=False)
        weighted: Tensor = trainer.recipe.noise_weight(kept) * F.mse_loss(predicted.float(), noise, reduction="none")
        return weighted.mean()

    def read(self, folder: Path) -> dict[str, Tensor]:
        """The denoiser's state from a diffusers folder."""
        return load_file(folder / "transformer" / SAFETENSORS_WEIGHTS_NAME)

    def save(self, model: Any, folder: Path) -> None:
        """As a diffusers folder."""
        save_diffusers(model, folder)

    def _drawn(self, trainer: Trainer, data: Split) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The whole batch, the same in every process: images, labels, timesteps, noise."""
        chosen = trainer.chosen(len(data))
        images = to_unit_range(data.images[chosen])
        images = torch.where(trainer.random(1, 1, 1) < 0.5, images.flip(-1), images)
        # One decision a sample for the whole model: see cifar10_dit.py.
        dropped = trainer.random() < trainer.recipe.drop_label
        labels = data.labels[chosen].masked_fill(dropped, NO_CLASS)
        timesteps = (trainer.spread() * TIMESTEPS).long().clamp(max=TIMESTEPS - 1)
        noise = torch.randn(images.shape, generator=trainer.generator, device=trainer.device)
        return images, labels, timesteps, noise


def main() -> None:
    options = arguments(__doc__, "cifar10-dit", batch=512, minutes=20.0).parse_args()
    recipe = Recipe(options.minutes, options.steps, options.batch, options.seed)
    with Peers.gathered() as peers:
        run(options, recipe, LabelledImages(), peers, load_split(options.data, "train"))


if __name__ == "__main__":
    main()
