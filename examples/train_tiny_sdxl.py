"""Trains a small text-to-image model of SDXL's shape on CIFAR-10, with captions made from the images' pixels.

    python examples/train_tiny_sdxl.py --data cifar10 --minutes 20 --device cuda
    torchrun --nproc-per-node 2 examples/train_tiny_sdxl.py --data cifar10 --minutes 10 --device cuda

It is saved as a diffusers folder. First a VAE is trained, for a part of the time, then U-Net and text encoders together
on its latents: the error of the noise (Ho et al. 2020), weighed as in train_cifar10_dit.py. Some images are made larger
and cut, and told so, as SDXL's are (Podell et al. 2023, section 2.2), and some are wider than high or higher than wide.
Captions: captions.py. How it is trained, on how many GPUs and for how long, and how it resumes: training.py.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import torch
from captions import KINDS, captions, prompts
from cifar10 import SIDE, Split, load_split, replacing, to_unit_range
from diffusers import AutoencoderKL
from peers import Peers
from safetensors.torch import load_file, save_file
from tiny_sdxl import (
    LENGTH,
    SAMPLER,
    STRIDE,
    TIMESTEPS,
    TextToImage,
    build_autoencoder,
    build_tokenizer,
    save_pipeline,
)
from torch import Tensor, nn
from torch.nn import functional as F
from training import Recipe, Trainer, arguments, run

AUTOENCODER = "vae.safetensors"
VAE_PART = 0.12  # of the time
SIZES = {(SIDE, SIDE): 0.7, (SIDE, 48): 0.15, (48, SIDE): 0.15}  # height and width, and how often
LARGER = 40  # side of images that a square one is cut from
CUT = 0.3  # how often that is
KL = 1e-4
_LATENTS = SIDE // STRIDE, SIDE // STRIDE


class Autoencoding:
    """The VAE's task: images again, from few numbers of a normal distribution's kind."""

    def build(self) -> nn.Module:
        """The model as it begins."""
        model: nn.Module = build_autoencoder()
        return model

    def loss(self, trainer: Trainer, data: Split) -> Tensor:
        """How far pixels are off, and latents from normal."""
        images = to_unit_range(data.images[trainer.chosen(len(data))])
        images = torch.where(trainer.random(1, 1, 1) < 0.5, images.flip(-1), images)
        noise = torch.randn(len(images), 4, *_LATENTS, generator=trainer.generator, device=trainer.device)
        images, noise = trainer.peers.part(images), trainer.peers.part(noise)
        with torch.autocast(trainer.device.type, torch.bfloat16, enabled=trainer.device.type == "cuda"):
            latents = trainer.model.encode(images).latent_dist
            again = trainer.model.decode(latents.mode() + latents.std * noise).sample
        spread = 0.5 * (latents.mean.float().square() + latents.var.float() - 1 - latents.logvar.float())
        off = F.l1_loss(again.float(), images) + F.mse_loss(again.float(), images)
        total: Tensor = off + KL * spread.mean()
        return total

    def read(self, folder: Path) -> dict[str, Tensor]:
        """The VAE's state."""
        return load_file(folder / AUTOENCODER)

    def save(self, model: Any, folder: Path) -> None:
        """Its tensors alone, in float32."""
        with replacing(folder / AUTOENCODER) as path:
            save_file({name: value.cpu().contiguous() for name, value in model.state_dict().items()}, path)


class View(NamedTuple):
    """How a step looks at its images: made `whole` pixels high and wide, of which `size` are left from `at` on."""

    whole: tuple[int, int]
    at: tuple[int, int]
    size: tuple[int, int]
    told: tuple[int, ...]  # SDXL's time ids


class CaptionedImages:
    """The U-Net's task: the noise in an image's latents, given a caption or none."""

    def __init__(self, data: Split, vae: Any, device: torch.device) -> None:
        """`vae` has its scaling factor."""
        said = list(captions(data.images, data.labels))
        words = {text for sides in said for kinds in sides for text in kinds}
        self.tokenizers = build_tokenizer(sorted(words) + prompts())
        self.vae = vae.to(device).eval().requires_grad_(False)
        self._tokens = self._table(said, sorted(words)).to(device)
        betas = torch.linspace(SAMPLER["beta_start"] ** 0.5, SAMPLER["beta_end"] ** 0.5, TIMESTEPS) ** 2
        self._kept = (1 - betas).cumprod(0).to(device)  # signal variance

    def _table(self, said: list[tuple[list[str], list[str]]], words: list[str]) -> Tensor:
        """Tokens [2 encoders, images, flipped or not, KINDS, LENGTH] as int16."""
        places = {text: place for place, text in enumerate(words)}
        rows = torch.tensor([[[places[text] for text in kinds] for kinds in sides] for sides in said])
        tables = [
            torch.tensor(each(words, padding="max_length", max_length=LENGTH, truncation=True)["input_ids"])
            for each in self.tokenizers
        ]
        return torch.stack([table.to(torch.int16)[rows] for table in tables])

    def build(self) -> nn.Module:
        """The model as it begins."""
        return TextToImage(self.tokenizers[0])

    def loss(self, trainer: Trainer, data: Split) -> Tensor:
        """Weighted squared error of the predicted noise, on this process's part of this step's images."""
        view = self._view(trainer)
        images, tokens, present, timesteps, noise = map(trainer.peers.part, self._drawn(trainer, data, view))
        ids = torch.tensor(view.told, device=trainer.device, dtype=torch.float32).expand(len(images), -1)
        kept = self._kept[timesteps, None, None, None]
        predict: Callable[..., Any] = trainer.predict if view.size == (SIDE, SIDE) else trainer.model
        with torch.autocast(trainer.device.type, torch.bfloat16, enabled=trainer.device.type == "cuda"):
            with torch.no_grad():
                latents = self.vae.encode(images).latent_dist.mode().float() * self.vae.config.scaling_factor
            noise = noise[..., : latents.shape[2], : latents.shape[3]]
            noisy = kept.sqrt() * latents + (1 - kept).sqrt() * noise
            predicted = predict(noisy, timesteps, tokens.transpose(0, 1), present, ids)
        weighted: Tensor = trainer.recipe.noise_weight(kept) * F.mse_loss(predicted.float(), noise, reduction="none")
        return weighted.mean()

    def read(self, folder: Path) -> dict[str, Tensor]:
        """The state of U-Net and text encoders from a diffusers folder."""
        parts = {"unet": "diffusion_pytorch_model", "text_encoder": "model", "text_encoder_2": "model"}
        return {
            f"{part}.{name}": tensor
            for part, stem in parts.items()
            for name, tensor in load_file(folder / part / f"{stem}.safetensors").items()
        }

    def save(self, model: Any, folder: Path) -> None:
        """As a diffusers folder."""
        save_pipeline(copy.deepcopy(model), copy.deepcopy(self.vae), self.tokenizers, prompts(), folder)

    def _view(self, trainer: Trainer) -> View:
        """The step's, the same in every process."""
        rng = Random(f"{trainer.recipe.seed}/{trainer.step}")
        size = rng.choices(list(SIZES), list(SIZES.values()))[0]
        if size == (SIDE, SIDE):
            whole = (LARGER, LARGER) if rng.random() < CUT else size
            cut = whole != size
        else:
            whole, cut = (max(size), max(size)), rng.random() < 0.5
        spare = whole[0] - size[0], whole[1] - size[1]
        at = (rng.randint(0, spare[0]), rng.randint(0, spare[1])) if cut else (spare[0] // 2, spare[1] // 2)
        # of an image that is not cut, or cut to its middle, a caller says that all of it is there
        told = (*whole, *at, *size) if cut else (*size, 0, 0, *size)
        return View(whole, at, size, told)

    def _drawn(self, trainer: Trainer, data: Split, view: View) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """The whole batch, the same in every process: images, tokens, whether there is a text, timesteps, noise."""
        chosen = trainer.chosen(len(data))
        flipped = trainer.random() < 0.5
        images = to_unit_range(data.images[chosen])
        images = torch.where(flipped[:, None, None, None], images.flip(-1), images)
        if view.whole != (SIDE, SIDE):
            images = F.interpolate(images, view.whole, mode="bicubic", antialias=True).clamp(-1, 1)
        (top, left), (height, width) = view.at, view.size
        images = images[..., top : top + height, left : left + width]
        kinds = (trainer.random() * KINDS).long()
        tokens = self._tokens[:, chosen, flipped.long(), kinds].long().transpose(0, 1)
        present = (trainer.random() >= trainer.recipe.drop_label).float()
        timesteps = (trainer.spread() * TIMESTEPS).long().clamp(max=TIMESTEPS - 1)
        most = max(max(size) for size in SIZES) // STRIDE
        noise = torch.randn(len(images), 4, most, most, generator=trainer.generator, device=trainer.device)
        return images, tokens, present, timesteps, noise


def scaled(vae: Any, data: Split, device: torch.device) -> Any:
    """The VAE with the factor that gives latents of these images a variance of 1."""
    with torch.no_grad():
        latents = vae.to(device).encode(to_unit_range(data.images[:2048]).to(device)).latent_dist.mode()
    vae.register_to_config(scaling_factor=round(1 / float(latents.std()), 5))
    return vae


def main() -> None:
    parser = arguments(__doc__, "tiny-sdxl", batch=1024, minutes=20.0)
    parser.add_argument("--vae-steps", type=int, help="train the VAE this many steps instead of its part of the time")
    options = parser.parse_args()
    with Peers.gathered() as peers:
        data = load_split(options.data, "train")
        autoencoder = _autoencoder(options, peers, data)
        device = peers.device(options.device)
        task = CaptionedImages(data, scaled(autoencoder, data, device), device)
        minutes = options.minutes * (1 - VAE_PART)
        run(options, Recipe(minutes, options.steps, options.batch, options.seed), task, peers, data)


def _autoencoder(options: argparse.Namespace, peers: Peers, data: Split) -> Any:
    """The VAE, trained now if it has not been."""
    if options.start_from:
        return AutoencoderKL.from_pretrained(options.start_from / "vae").float()
    folder = options.work / "vae"
    if not (folder / AUTOENCODER).exists():
        own = argparse.Namespace(**{**vars(options), "work": folder, "out": folder, "start_from": None})
        own.pause_after_steps, own.compile = None, False
        batch = min(options.batch, 256)
        recipe = Recipe(options.minutes * VAE_PART, options.vae_steps, batch, options.seed, ema=0.999)
        run(own, recipe, Autoencoding(), peers, data)
        peers.meet()
    vae = build_autoencoder()
    vae.load_state_dict(load_file(folder / AUTOENCODER))
    return vae


if __name__ == "__main__":
    main()
