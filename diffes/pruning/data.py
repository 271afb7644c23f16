"""Calibration on images: what the dense model meets when it denoises noised data, as in training."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from diffes.checkpoint import Checkpoint
from diffes.components import read_config, read_state
from diffes.errors import CheckpointError, InvalidInput
from diffes.files import sha256_of
from diffes.prompts import Prompts
from diffes.pruning.gather import DenseModel, noise_of
from diffes.pruning.spec import CalibrationSpec
from diffes.rollout import conditions_of
from diffes.sampling import Trajectory

_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}


@dataclass(frozen=True)
class ImageFolder:
    """Images below a folder, of which the first `count` by a fixed shuffle of their names are looked at.

    An image in a folder named like one of the model's labels has that label, any other has none.
    """

    folder: Path
    count: int

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """The images looked at; InvalidInput if there are too few."""
        found = [path for path in self.folder.rglob("*") if path.suffix.lower() in _SUFFIXES]
        if len(found) < self.count:
            raise InvalidInput(
                "calibration data", expected=f"{self.count} images below {self.folder}", found=f"{len(found)}"
            )
        # by the name's hash, so that a folder sorted by label still gives a mixture
        found.sort(key=lambda path: hashlib.sha256(path.relative_to(self.folder).as_posix().encode()).digest())
        return tuple(found[: self.count])

    @cached_property
    def digest(self) -> str:
        """Names the images looked at, their labels and their bytes; 16 hex digits."""
        digest = hashlib.sha256()
        for path in self.files:
            digest.update(f"{path.parent.name} {sha256_of(path)}".encode())
        return digest.hexdigest()[:16]

    def labels(self, checkpoint: Checkpoint) -> list[int | None]:
        """Label id of each image; None where there is none."""
        names = {name: number for number, name in enumerate(checkpoint.labels)}
        return [names.get(path.parent.name) for path in self.files]


def looking_at(spec: CalibrationSpec, checkpoint: Checkpoint, folder: Path | None) -> CalibrationSpec:
    """The same calibration on the checkpoint's texts, if it reads any, and on a folder's images if there is one."""
    spec = replace(spec, texts=checkpoint.texts_digest)
    if folder is None:
        return spec
    if checkpoint.texts:
        raise InvalidInput(
            "calibration data",
            expected="a model that knows classes: images say no text",
            found=checkpoint.class_name,
            remedy="Calibrate on the model's own trajectories, of a file of prompts.",
        )
    return replace(spec, source="data", data=ImageFolder(folder, spec.images).digest)


class NoisedData:
    """A `Source`: each image with its own seeded noise, at every timestep of the sampler."""

    def __init__(self, checkpoint: Checkpoint, spec: CalibrationSpec, images: ImageFolder) -> None:
        if images.digest != spec.data:
            raise InvalidInput(
                "calibration data",
                expected=f"the images of digest {spec.data}",
                found=images.digest,
                remedy="Give the folder and the number of images the calibration was specified with.",
            )
        self._spec, self._checkpoint = spec, checkpoint
        self._files, self._labels = images.files, images.labels(checkpoint)
        self._encoder = None if checkpoint.vae_folder is None else _Encoder(checkpoint.vae_folder)
        self._alphas = _signal_shares(checkpoint)

    def __call__(self, model: DenseModel, path: Trajectory, numbers: Sequence[int], /) -> Iterator[float]:
        """See `Source`."""
        architecture = self._checkpoint.architecture
        clean = torch.stack([self._latents(self._files[i]) for i in numbers])
        noise = noise_of(self._spec, architecture, numbers)
        prompts = _labelled(self._checkpoint.wording.examples, [self._labels[i] for i in numbers])
        encoded = model.encode(prompts.branches(self._spec.sampler.guidance))
        for timestep in path.timesteps:
            yield timestep
            alpha = float(np.interp(timestep, np.arange(len(self._alphas)), self._alphas))
            latents = alpha**0.5 * clean + (1 - alpha) ** 0.5 * noise
            latents = latents.repeat(len(encoded) // len(latents), 1, 1, 1)
            model.denoise(None, latents, conditions_of(model, encoded, float(timestep)))

    def _latents(self, path: Path) -> Tensor:
        """One image as the denoiser meets it without noise, [C, h, w]."""
        shape = self._checkpoint.architecture.latent_shape
        size = shape[-1] * (1 if self._encoder is None else self._encoder.stride)
        pixels = _pixels(path, size)
        latents = pixels if self._encoder is None else self._encoder(pixels)
        if tuple(latents.shape) != shape:
            raise CheckpointError(
                "images do not become this model's latents",
                expected=f"{shape} from a VAE",
                found=tuple(latents.shape),
                remedy="Calibrate on the model's own trajectories.",
            )
        return latents


def _labelled(examples: Prompts, labels: Sequence[int | None]) -> Prompts:
    """Each label's example; of no label what guidance leads away from."""
    prompts = examples.in_turn([label or 0 for label in labels])
    has = torch.tensor([label is not None for label in labels])
    wanted = {
        name: torch.where(has.view(-1, *[1] * (rows.dim() - 1)), rows, prompts.unwanted[name])
        for name, rows in prompts.wanted.items()
    }
    return Prompts(wanted, prompts.unwanted)


class _Encoder:
    """A VAE's encoder: pixels [3, H, W] → scaled latents, the mean of what it encodes to."""

    def __init__(self, folder: Path) -> None:
        from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL  # takes seconds and 100 MiB

        config, state = read_config(folder), read_state(folder)
        if config.get("_class_name") != "AutoencoderKL" or not any(name.startswith("encoder.") for name in state):
            raise CheckpointError(
                "images cannot become latents: the model folder has no VAE encoder",
                expected="an AutoencoderKL with encoder weights",
                found=config.get("_class_name"),
                remedy="Calibrate on the model's own trajectories.",
            )
        with torch.device("meta"):
            self._vae = AutoencoderKL.from_config(config)
        self._vae.load_state_dict({name: tensor.float() for name, tensor in state.items()}, assign=True)
        self._vae.eval().requires_grad_(False)
        self.stride = 2 ** (len(self._vae.config.block_out_channels) - 1)

    def __call__(self, pixels: Tensor) -> Tensor:
        mean: Tensor = self._vae.encode(pixels[None]).latent_dist.mean[0]
        config = self._vae.config
        latents: Tensor = (mean - (config.shift_factor or 0.0)) * config.scaling_factor
        return latents


def _pixels(path: Path, size: int) -> Tensor:
    """An image, shorter side scaled to `size` and cropped to its middle, [3, size, size] in [-1, 1]."""
    try:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
    except (OSError, UnidentifiedImageError) as error:
        raise InvalidInput("calibration data", expected="images", found=f"{path} ({error})") from error
    share = size / min(image.size)
    if share != 1:
        image = image.resize((round(image.width * share), round(image.height * share)), Image.Resampling.LANCZOS)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    levels = np.asarray(image.crop((left, top, left + size, top + size)), dtype=np.float32)
    return torch.from_numpy(levels / 127.5 - 1).permute(2, 0, 1)


def _signal_shares(checkpoint: Checkpoint) -> np.ndarray:
    """The cumulative alpha of every training timestep, [T]; between two of them samplers may ask in fractions."""
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    scheduler = DDIMScheduler.from_config(dict(checkpoint.scheduler_config))
    return np.asarray(scheduler.alphas_cumprod, dtype=np.float64)
