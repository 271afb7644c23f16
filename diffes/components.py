"""One component of a diffusers model folder: its config and its tensors. Safetensors only: no code is run."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from diffes.errors import CheckpointError
from diffes.sizes import Size

_STEMS = ("diffusion_pytorch_model", "model")  # diffusers' and transformers'
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of one component, sorted; a pickle is refused, never opened."""
    for stem in _STEMS:
        whole = folder / f"{stem}.safetensors"
        if whole.exists():  # shards or another precision may lie beside it
            return [whole]
        files = sorted(folder.glob(f"{stem}*.safetensors"))
        if files:
            return files
    expected = f"{_STEMS[0]}.safetensors, or of a text encoder {_STEMS[1]}.safetensors"
    pickles = [p.name for p in sorted(folder.glob("*")) if p.suffix in _PICKLES]
    if pickles:
        raise CheckpointError(
            f"{folder} holds pickled weights, which can run code when read",
            expected=expected,
            found=", ".join(pickles),
            remedy="Save the model with safe_serialization=True.",
        )
    raise CheckpointError(f"{folder} holds no weights", expected=expected, found="nothing")


def read_state(folder: Path) -> Mapping[str, Tensor]:
    """Every tensor of one component, on CPU, read anew whenever it is asked for: what nobody holds takes no memory."""
    return _Stored(folder)


class _Stored(Mapping[str, Tensor]):
    def __init__(self, folder: Path) -> None:
        """CheckpointError if a file is damaged, or a tensor is held by two."""
        self._files: dict[str, Path] = {}
        for file in weight_files(folder):
            with _opened(file) as tensors:
                for name in tensors.keys():  # noqa: SIM118 - safe_open is no mapping
                    if name in self._files:
                        raise CheckpointError(f"{folder} holds {name} twice", expected="shards of one model")
                    self._files[name] = file

    def __getitem__(self, name: str) -> Tensor:
        with _opened(self._files[name]) as tensors:
            tensor: Tensor = tensors.get_tensor(name)
            return tensor.clone()  # the file is mapped only as long as it is open

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    try:
        with safe_open(file, framework="pt") as tensors:
            yield tensors
    except SafetensorError as error:
        raise CheckpointError(f"{file} is damaged", expected="a safetensors file", found=str(error)) from error


def read_config(folder: Path) -> dict[str, Any]:
    """The config.json of one component."""
    return read_json(folder / "config.json", f"the config of {folder.name}")


def read_json(path: Path, what: str) -> dict[str, Any]:
    """A JSON object; CheckpointError, naming what it is, for anything else."""
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


def pixels_of(latent_shape: tuple[int, int, int], vae: Mapping[str, Any] | None) -> Size:
    """Height and width of the images of such latents, through a VAE of that config or none."""
    _, height, width = latent_shape
    factor = stride_of(vae)
    return Size(height * factor, width * factor)


def stride_of(vae: Mapping[str, Any] | None) -> int:
    """Pixels of a side that become one latent in a VAE of that config; without one a pixel is a latent."""
    return 1 if vae is None else int(2 ** (len(vae["block_out_channels"]) - 1))
