"""diffusers' own DiTPipeline on a model folder, as its documentation runs it: one image a call."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.transformers.dit_transformer_2d import DiTTransformer2DModel
from diffusers.pipelines.dit import pipeline_dit
from diffusers.pipelines.dit.pipeline_dit import DiTPipeline
from PIL import Image
from torch import Tensor

_UNCONDITIONAL = 1000  # DiTPipeline's label without a class: ImageNet's, behind its last
_COMPILE_MODE = "reduce-overhead"  # whole steps as CUDA graphs: what torch offers a user who wants low latency


class Pixels(ModelMixin):  # type: ignore[misc] # diffusers has no types
    """What stands where a decoder would, of a model that calculates on pixels: latents are the image."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("device_of", torch.zeros(()))
        self.config = SimpleNamespace(scaling_factor=1.0)

    def decode(self, latents: Tensor) -> Any:
        """latents [B, C, H, W] → the same as `.sample`."""
        return SimpleNamespace(sample=latents)


class FewerClasses(DiTTransformer2DModel):  # type: ignore[misc] # diffusers has no types
    """A model of fewer classes than ImageNet has its label without a class behind its own last."""

    def forward(self, hidden_states: Tensor, timestep: Any = None, class_labels: Any = None, **others: Any) -> Any:
        """As diffusers'."""
        labels = class_labels.clamp(max=self.config["num_embeds_ada_norm"])
        return super().forward(hidden_states, timestep=timestep, class_labels=labels, **others)


def _noise(shape: tuple[int, ...], generator: torch.Generator, device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.randn(shape, generator=generator).to(device, dtype)


# In 16 bits a seed may give other noise than in 32 (torch 2.11). DiTPipeline looks the function up by name.
pipeline_dit.randn_tensor = _noise


class Pipeline:
    """A model folder, opened on a device. One thread calls it; compiled, the one that opened it.

    Compiled, CUDA graphs are recorded at the first image, and are of that thread.
    """

    def __init__(self, folder: Path, device: str = "cpu", dtype: str = "float32", *, compiled: bool = False) -> None:
        """ValueError for a model that DiTPipeline does not run as it should be."""
        pipeline = open_pipeline(folder).to(torch.device(device), getattr(torch, dtype))
        pipeline.set_progress_bar_config(disable=True)
        if compiled:
            pipeline.transformer.compile(mode=_COMPILE_MODE, dynamic=False)
        self.most_steps: int = pipeline.scheduler.config.num_train_timesteps
        self._pipeline = pipeline

    def image(self, label: int, seed: int, steps: int, guidance: float) -> Image.Image:
        """The image of one class from a seed; guidance 1 is none."""
        generator = torch.Generator().manual_seed(seed)  # of the CPU: the same noise on every device
        with torch.inference_mode():
            made = self._pipeline([label], guidance, generator, steps)
        image: Image.Image = made.images[0]
        return image


def labels_of(folder: Path) -> list[str]:
    """Names of a model folder's classes by their numbers; the numbers themselves, where it names none."""
    classes: int = _config(folder / "transformer" / "config.json")["num_embeds_ada_norm"]
    names = _config(folder / "model_index.json").get("id2label", {})
    return [str(names.get(str(number), number)) for number in range(classes)]


def class_of(folder: Path) -> str:
    """The class of a model folder's denoiser."""
    return str(_config(folder / "transformer" / "config.json")["_class_name"])


def open_pipeline(folder: Path) -> Any:
    """diffusers' DiTPipeline of a model folder; ValueError for a model that it does not run as it should be."""
    classes = len(labels_of(folder))
    if classes > _UNCONDITIONAL:
        raise ValueError(f"DiTPipeline knows at most {_UNCONDITIONAL} classes, found {classes}")
    others: dict[str, Any] = {}
    if classes < _UNCONDITIONAL:
        others["transformer"] = FewerClasses.from_pretrained(folder / "transformer", use_safetensors=True)
    if (_config(folder / "model_index.json").get("vae") or [None])[0] is None:
        others["vae"] = Pixels()
    pipeline = DiTPipeline.from_pretrained(folder, use_safetensors=True, **others)
    if pipeline.scheduler.init_noise_sigma != 1:
        raise ValueError(f"DiTPipeline begins with noise of 1, {type(pipeline.scheduler).__name__} does not")
    return pipeline


def _config(path: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return config
