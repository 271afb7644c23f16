"""A model whose images are neither flat nor clipped, which those of random weights that predict noise are."""

from pathlib import Path
from shutil import copytree

import pytest
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from diffes.bundle import Bundle
from diffes.checkpoint import Checkpoint
from diffes.presets import dense_schedule
from export.job import export_bundle
from tests.bundles import SAMPLER


@pytest.fixture(scope="session")
def model_folder(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model, on pixels, that predicts velocity."""
    folder = tmp_path_factory.mktemp("peers") / "velocity"
    copytree(tiny_model_folder, folder)
    scheduler = DDIMScheduler.from_pretrained(folder / "scheduler", prediction_type="v_prediction")
    scheduler.save_pretrained(folder / "scheduler")
    return folder


@pytest.fixture(scope="session")
def dense_bundle(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of it, dense."""
    return exported(model_folder, tmp_path_factory.mktemp("peers") / "bundle")


def exported(model: Path, out: Path) -> Bundle:
    """A dense bundle of a model's folder."""
    checkpoint = Checkpoint.open(model)
    schedules = {"dense": dense_schedule(checkpoint, SAMPLER)}
    return export_bundle(checkpoint, schedules, "dense", None, out, verify=False)
