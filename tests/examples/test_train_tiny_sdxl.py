"""The text-to-image training resumes exactly, and saves what diffusers and Diffes open."""

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from safetensors.torch import load_file

from diffes.checkpoint import Checkpoint
from tests.examples import scripts
from tests.examples.scripts import ROOT

SCRIPT = "examples/train_tiny_sdxl.py"
WEIGHTS = ("unet/diffusion_pytorch_model", "text_encoder/model", "text_encoder_2/model", "vae/diffusion_pytorch_model")


def train(data: Path, folder: Path, *more: object) -> str | int | None:
    return scripts.train(SCRIPT, data, folder, "--vae-steps", 2, "--batch", 2, *more)


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    assert train(data, folder) is None
    return folder


def test_a_resumed_training_equals_an_uninterrupted_one_bit_for_bit(finished: Path, data: Path, tmp_path: Path) -> None:
    assert train(data, tmp_path, "--pause-after-steps", 2) is None
    assert not (tmp_path / "out").exists()
    assert train(data, tmp_path, "--resume") is None
    for name in WEIGHTS:
        one, other = (load_file(folder / "out" / f"{name}.safetensors") for folder in (finished, tmp_path))
        assert all(torch.equal(one[key], other[key]) for key in one | other)


def test_what_is_saved_opens_in_diffusers_and_in_diffes(finished: Path) -> None:
    checkpoint = Checkpoint.open(finished / "out")
    pipeline = StableDiffusionXLPipeline.from_pretrained(finished / "out", dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)

    assert len(checkpoint.texts) == 50
    assert checkpoint.image_size == (32, 32)
    assert pipeline("a photo of a red truck", num_inference_steps=1, output_type="np").images.shape == (1, 32, 32, 3)


def test_what_lies_beside_the_model_stays(finished: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "README.md").write_text("a card")
    assert train(data, tmp_path, "--from", finished / "out") is None
    assert (tmp_path / "out" / "README.md").read_text() == "a card"
    assert Checkpoint.open(tmp_path / "out").texts


def test_the_shipped_model_was_saved_by_it() -> None:
    shipped = Checkpoint.open(ROOT / "models" / "tiny-sdxl")

    assert len(shipped.texts) == 50
    assert sum(path.stat().st_size for path in shipped.folder.rglob("*") if path.is_file()) <= 40_000_000
