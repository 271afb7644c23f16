"""Open a diffusers model folder: safetensors only, no code from the folder is run."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from diffes.architectures import Architecture, architecture_for
from diffes.errors import CheckpointError
from diffes.files import sha256_of
from diffes.sampling import train_timesteps
from diffes.schedule import ModelIdentity

_WEIGHTS = "diffusion_pytorch_model"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")


@dataclass(frozen=True)
class Checkpoint:
    """A model folder in diffusers layout: denoiser, scheduler, labels, and a VAE or none (pixel space)."""

    folder: Path
    denoiser_folder: Path
    class_name: str
    config: Mapping[str, Any]
    scheduler_config: Mapping[str, Any]
    labels: tuple[str, ...]
    vae_folder: Path | None

    @classmethod
    def open(cls, folder: Path) -> "Checkpoint":
        """Read the folder's configs; weights are read later, by `denoiser_state`."""
        index = _read_json(folder / "model_index.json", "a diffusers model folder")
        denoiser = folder / "transformer"
        config = _read_json(denoiser / "config.json", "the denoiser's config")
        class_name = config.get("_class_name", "")
        weight_files(denoiser)  # refuse pickles before anything is read
        scheduler = _read_json(folder / "scheduler" / "scheduler_config.json", "the scheduler's config")
        train_timesteps(scheduler)
        architecture = architecture_for(class_name, config)
        if "labels" not in architecture.prompt_inputs():
            raise CheckpointError(
                f"{class_name} takes texts, which cannot be encoded yet",
                expected="a model that knows classes, such as a DiT",
                found=", ".join(architecture.prompt_inputs()),
            )
        has_vae = bool((index.get("vae") or [None])[0])
        return cls(
            folder=folder,
            denoiser_folder=denoiser,
            class_name=class_name,
            config=config,
            scheduler_config=scheduler,
            labels=_labels(index, len(architecture.examples())),
            vae_folder=folder / "vae" if has_vae else None,
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
        for file in weight_files(self.denoiser_folder):
            digest.update(sha256_of(file).encode())
        return ModelIdentity(class_name=self.class_name, fingerprint=digest.hexdigest())

    @property
    def train_timesteps(self) -> int:
        """T: the number of training timesteps."""
        return train_timesteps(self.scheduler_config)

    def denoiser_state(self) -> dict[str, Tensor]:
        """diffusers' state dict of the denoiser, on CPU, in the dtype of the files."""
        return read_state(self.denoiser_folder)

    @cached_property
    def numbers(self) -> int:
        """How many numbers the denoiser's weights are, its condition's included; reads them all the first time."""
        return sum(tensor.numel() for tensor in self.weights().values())

    def weights(self) -> dict[str, Tensor]:
        """The denoiser's tensors in its architecture's names and layouts, in the dtype of the file."""
        return self.architecture.convert(self.denoiser_state())


_NOT_MEANING = {"_diffusers_version", "_name_or_path"}


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of one diffusers component, sorted; a pickle is refused, never opened."""
    whole = folder / f"{_WEIGHTS}.safetensors"
    if whole.exists():  # shards or another precision may lie beside it
        return [whole]
    files = sorted(folder.glob(f"{_WEIGHTS}*.safetensors"))
    if files:
        return files
    pickles = [p.name for p in sorted(folder.glob("*")) if p.suffix in _PICKLES]
    if pickles:
        raise CheckpointError(
            f"{folder} holds pickled weights, which can run code when read",
            expected=f"{_WEIGHTS}.safetensors",
            found=", ".join(pickles),
            remedy="Save the model with safe_serialization=True.",
        )
    raise CheckpointError(f"{folder} holds no weights", expected=f"{_WEIGHTS}.safetensors", found="nothing")


def read_state(folder: Path) -> dict[str, Tensor]:
    """Every tensor of one diffusers component, on CPU."""
    state: dict[str, Tensor] = {}
    for file in weight_files(folder):
        try:
            with safe_open(file, framework="pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118 - safe_open is no mapping
                    if name in state:
                        raise CheckpointError(f"{folder} holds {name} twice", expected="shards of one model")
                    state[name] = tensors.get_tensor(name)
        except SafetensorError as error:
            raise CheckpointError(f"{file} is damaged", expected="a safetensors file", found=str(error)) from error
    return state


def read_config(folder: Path) -> dict[str, Any]:
    """The config.json of one diffusers component."""
    return _read_json(folder / "config.json", f"the config of {folder.name}")


def _read_json(path: Path, what: str) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"cannot read {what}",
            expected=str(path),
            found=str(error),
            remedy="Give the folder that holds model_index.json.",
        ) from error
    if not isinstance(document, dict):
        raise CheckpointError(f"{path} is malformed", expected="a JSON object", found=document)
    return document


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
