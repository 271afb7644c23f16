"""Open a diffusers model folder: safetensors only, no code from the folder is run."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from diffes.architectures import Architecture, architecture_for
from diffes.components import pixels_of, read_config, read_json, read_state, weight_files
from diffes.errors import CheckpointError
from diffes.files import sha256_of
from diffes.sampling import train_timesteps
from diffes.schedule import ModelIdentity
from diffes.sizes import Size
from diffes.texts import SHIPPED, read_texts
from diffes.tokens import Tokenizer
from diffes.wording import ClassNames, Texts, Wording

TEXTS = "prompts.txt"  # of a model folder: texts to look at the model with


@dataclass(frozen=True)
class Checkpoint:
    """A model folder in diffusers layout: denoiser, scheduler, a VAE or none (pixel space), and labels or texts.

    `texts` are what a model that reads texts is looked at with; `text_folders` its text encoders, in order.
    """

    folder: Path
    denoiser_folder: Path
    class_name: str
    config: Mapping[str, Any]
    scheduler_config: Mapping[str, Any]
    labels: tuple[str, ...]
    vae_folder: Path | None
    text_folders: tuple[Path, ...] = ()
    texts: tuple[str, ...] = ()

    @classmethod
    def open(cls, folder: Path, texts: Path | None = None) -> "Checkpoint":
        """Read the folder's configs; weights are read later, by `denoiser_state`.

        `texts` is a file of one text a line, for a model that reads them; without one the folder's own prompts.txt is
        read, and without that the texts that Diffes ships.
        """
        if folder.is_file():
            raise CheckpointError(
                f"{folder} is a file",
                expected="a model folder in diffusers layout",
                found=f"a {folder.suffix or 'nameless'} file",
                remedy=f"Unpack it first: diffes unpack {folder} --out FOLDER.",
            )
        index = read_json(folder / "model_index.json", "a diffusers model folder")
        denoiser = folder / ("unet" if "unet" in index else "transformer")
        config = read_json(denoiser / "config.json", "the denoiser's config")
        class_name = config.get("_class_name", "")
        weight_files(denoiser)  # refuse pickles before anything is read
        scheduler = read_json(folder / "scheduler" / "scheduler_config.json", "the scheduler's config")
        train_timesteps(scheduler)
        text_folders = _text_folders(folder, index)
        config = {**config, **_told_by(text_folders, index)}
        architecture = architecture_for(class_name, config)
        _require_told(class_name, architecture, [str(index[each.name][1]) for each in text_folders])
        reads = architecture.texts is not None
        if texts is not None and not reads:
            raise CheckpointError(f"{class_name} reads no texts", expected="no file of them", found=texts)
        return cls(
            folder=folder,
            denoiser_folder=denoiser,
            class_name=class_name,
            config=config,
            scheduler_config=scheduler,
            labels=() if reads else _labels(index, len(architecture.examples())),
            vae_folder=folder / "vae" if _has(index, "vae") else None,
            text_folders=text_folders if reads else (),
            texts=read_texts(texts or _own(folder)) if reads else (),
        )

    @cached_property
    def architecture(self) -> Architecture:
        """What can be pruned where in this denoiser."""
        return architecture_for(self.class_name, self.config)

    @cached_property
    def identity(self) -> ModelIdentity:
        """Class and fingerprint: SHA-256 over what the configs mean and the weight files' bytes.

        The scheduler's config counts: a schedule or calibration follows from the noise levels it sets.
        """
        digest = hashlib.sha256()
        for config in (self.config, self.scheduler_config):
            meaning = {k: v for k, v in config.items() if k not in _NOT_MEANING}
            digest.update(json.dumps(meaning, sort_keys=True).encode())
        for folder in (self.denoiser_folder, *self.text_folders):
            for file in weight_files(folder):
                digest.update(sha256_of(file).encode())
        for tokenizer in self.tokenizers:
            digest.update(tokenizer.document.encode())
        return ModelIdentity(class_name=self.class_name, fingerprint=digest.hexdigest())

    @cached_property
    def tokenizers(self) -> tuple[Tokenizer, ...]:
        """Of each text encoder."""
        texts = self.architecture.texts
        if texts is None:
            return ()
        return tuple(Tokenizer.read(_tokenizer_of(folder), texts.length) for folder in self.text_folders)

    @cached_property
    def wording(self) -> Wording:
        """How callers say what an image is to show."""
        if self.architecture.texts is None:
            return ClassNames(self.labels, self.architecture.examples())
        return Texts(self.architecture, self.tokenizers, self.texts, self.image_size)

    @property
    def texts_digest(self) -> str:
        """Names the texts; 16 hex digits, empty of a model that reads none."""
        return hashlib.sha256("\n".join(self.texts).encode()).hexdigest()[:16] if self.texts else ""

    @property
    def image_size(self) -> Size:
        """Height and width of the images, in pixels."""
        vae = None if self.vae_folder is None else read_config(self.vae_folder)
        return pixels_of(self.architecture.latent_shape, vae)

    @property
    def train_timesteps(self) -> int:
        """T: the number of training timesteps."""
        return train_timesteps(self.scheduler_config)

    def denoiser_state(self) -> Mapping[str, Tensor]:
        """diffusers' state dict of the denoiser, on CPU, in the dtype of the files."""
        return read_state(self.denoiser_folder)

    @cached_property
    def numbers(self) -> int:
        """How many numbers the denoiser's weights are, its condition's included; reads them all the first time."""
        return sum(tensor.numel() for tensor in self.weights().values())

    def weights(self) -> dict[str, Tensor]:
        """The tensors of denoiser and text encoders in the architecture's names and layouts, in the files' dtypes."""
        converted = self.architecture.convert(self.denoiser_state())
        if self.architecture.texts is None:
            return converted
        return converted | self.architecture.texts.convert([read_state(folder) for folder in self.text_folders])


_NOT_MEANING = {"_diffusers_version", "_name_or_path", "transformers_version"}


def _has(index: Mapping[str, Any], component: str) -> bool:
    """Whether a pipeline has it: a library and a class."""
    return bool((index.get(component) or [None])[0])


def _text_folders(folder: Path, index: Mapping[str, Any]) -> tuple[Path, ...]:
    return tuple(folder / name for name in ("text_encoder", "text_encoder_2") if _has(index, name))


def _tokenizer_of(text_encoder: Path) -> Path:
    return text_encoder.with_name(text_encoder.name.replace("text_encoder", "tokenizer"))


def _told_by(text_folders: tuple[Path, ...], index: Mapping[str, Any]) -> dict[str, Any]:
    """What a denoiser's config lacks: the configs of what it reads."""
    if not text_folders:
        return {}
    encoders = [{**read_config(each), "_class_name": index[each.name][1]} for each in text_folders]
    told = {key: index[key] for key in ("force_zeros_for_empty_prompt",) if key in index}
    return {"text_encoders": encoders, **told}


def _require_told(class_name: str, architecture: Architecture, encoders: Sequence[str]) -> None:
    """CheckpointError for a family whose text encoders cannot be run."""
    if architecture.texts is None and "labels" not in architecture.prompt_inputs():
        raise CheckpointError(
            f"{class_name} reads texts, and Diffes cannot run what encodes them here",
            expected="a U-Net with CLIPTextModel and CLIPTextModelWithProjection, or a family that knows classes",
            found=", ".join(encoders) or "none",
        )


def _own(folder: Path) -> Path:
    """The file of texts that the folder has, or else the shipped one."""
    return folder / TEXTS if (folder / TEXTS).is_file() else SHIPPED


def _labels(index: Mapping[str, Any], classes: int) -> tuple[str, ...]:
    """Label names by class id; without `id2label` the ids themselves."""
    names = index.get("id2label")
    if names is None:
        return tuple(str(i) for i in range(classes))
    if not isinstance(names, dict):
        raise CheckpointError("id2label is malformed", expected="a JSON object of id: name", found=names)
    try:
        return tuple(str(names[str(i)]) for i in range(classes))
    except KeyError as error:
        raise CheckpointError(
            "id2label is incomplete", expected=f"ids 0..{classes - 1}", found=f"no {error.args[0]}"
        ) from error
