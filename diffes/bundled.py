"""The model and the measuring instrument that ship with the project."""

from pathlib import Path

from diffes.errors import CheckpointError

_MODELS = Path(__file__).resolve().parent.parent / "models"


def bundled_model() -> Path:
    """The CIFAR-10 DiT, a diffusers folder."""
    return _shipped("cifar10-dit")


def bundled_text_to_image() -> Path:
    """The small model of SDXL's shape, a diffusers folder with prompts of its own."""
    return _shipped("tiny-sdxl")


def bundled_features() -> Path:
    """The CIFAR-10 classifier whose features Fréchet distances are taken in."""
    return _shipped("cifar10-features")


def _shipped(name: str) -> Path:
    folder = _MODELS / name
    if not folder.is_dir():
        raise CheckpointError(
            f"the bundled {name} is not here",
            expected=str(folder),
            found="no such folder",
            remedy="Run from a clone of the repository, or name a model folder.",
        )
    return folder
