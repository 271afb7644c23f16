"""diffusers' own pipeline makes what Diffes' dense schedule makes: on pixels, and behind a VAE."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers.models.transformers.dit_transformer_2d import DiTTransformer2DModel
from diffusers.pipelines.dit.pipeline_dit import DiTPipeline
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler

from diffes.bundle import Bundle
from diffes.engine.request import Request
from loadtest.peers.pipeline import Pipeline, class_of, labels_of
from tests.bundles import tiny_vae
from tests.conftest import LABELS, tiny_dit
from tests.loadtest.peers.conftest import exported
from tests.loadtest.peers.dense import dense_levels, distance, levels_of
from tests.prompting import of_label

ROUNDING = 1  # grey levels
ASKED = [(8, 3, 20, 1.5), (0, 2**32 - 1, 7, 4.0), (9, 0, 20, 1.0)]  # label, seed, steps, guidance


@pytest.fixture(scope="module")
def pixels(model_folder: Path) -> Pipeline:
    return Pipeline(model_folder)


@pytest.fixture(scope="module")
def latent_folder(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as DiT-XL/2 is one: a VAE without a shift, and a variance that the model learned."""
    folder = with_vae(tiny_model_folder, tmp_path_factory.mktemp("latent") / "model")
    tiny_dit(out_channels=6).save_pretrained(folder / "transformer")
    return folder


@pytest.fixture(scope="module")
def latent_bundle(latent_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return exported(latent_folder, tmp_path_factory.mktemp("latent") / "bundle")


def with_vae(model: Path, folder: Path) -> Path:
    """A copy of a model, with a VAE."""
    shutil.copytree(model, folder)
    vae = tiny_vae()
    vae.register_to_config(shift_factor=None)  # which DiTPipeline does not know
    vae.save_pretrained(folder / "vae")
    change_index(folder, vae=["diffusers", "AutoencoderKL"])
    return folder


def change_index(folder: Path, **changes: object) -> None:
    """Components of a model."""
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | changes))


@pytest.mark.parametrize(("label", "seed", "steps", "guidance"), ASKED)
def test_an_image_is_the_one_of_the_dense_schedule(
    pixels: Pipeline, dense_bundle: Bundle, label: int, seed: int, steps: int, guidance: float
) -> None:
    request = Request(prompt=of_label(label), seed=seed, steps=steps, guidance=guidance, schedule="dense")
    (expected,) = dense_levels(dense_bundle, request)
    image = pixels.image(label, seed, steps, guidance)
    assert distance(levels_of(image), expected) <= ROUNDING


@pytest.mark.parametrize(("label", "seed", "steps", "guidance"), ASKED)
def test_so_it_is_behind_a_decoder(
    latent_folder: Path, latent_bundle: Bundle, label: int, seed: int, steps: int, guidance: float
) -> None:
    (expected,) = dense_levels(
        latent_bundle, Request(prompt=of_label(label), seed=seed, steps=steps, guidance=guidance)
    )
    image = Pipeline(latent_folder).image(label, seed, steps, guidance)
    assert image.size == (16, 16)
    assert distance(levels_of(image), expected) <= ROUNDING


def test_16_bits_begin_with_the_same_noise(pixels: Pipeline, model_folder: Path) -> None:
    image = levels_of(Pipeline(model_folder, dtype="bfloat16").image(8, 3, 20, 1.5))
    expected = levels_of(pixels.image(8, 3, 20, 1.5))
    assert distance(image, expected) > 0
    assert abs(image - expected).mean() < 3


def test_a_model_of_imagenets_classes_is_diffusers_pipeline_as_it_is(tiny_model_folder: Path, tmp_path: Path) -> None:
    folder = with_vae(tiny_model_folder, tmp_path / "model")
    tiny_dit(num_embeds_ada_norm=1000).save_pretrained(folder / "transformer")
    pipeline = DiTPipeline.from_pretrained(folder)
    assert type(pipeline.transformer) is DiTTransformer2DModel
    (expected,) = pipeline([999], 1.5, torch.Generator().manual_seed(4), 5).images
    assert distance(levels_of(Pipeline(folder).image(999, 4, 5, 1.5)), levels_of(expected)) == 0


def test_labels_are_the_folders_and_numbers_where_it_names_none(model_folder: Path, tmp_path: Path) -> None:
    assert labels_of(model_folder) == list(LABELS)
    assert class_of(model_folder) == "DiTTransformer2DModel"
    folder = Path(shutil.copytree(model_folder, tmp_path / "model"))
    change_index(folder, id2label={})
    assert labels_of(folder) == [str(number) for number in range(10)]


def test_what_diffusers_would_run_wrongly_is_refused(model_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model_folder, tmp_path / "model"))
    EulerDiscreteScheduler().save_pretrained(folder / "scheduler")
    change_index(folder, scheduler=["diffusers", "EulerDiscreteScheduler"])
    with pytest.raises(ValueError, match="noise of 1"):
        Pipeline(folder)
    tiny_dit(num_embeds_ada_norm=1001).save_pretrained(folder / "transformer")
    with pytest.raises(ValueError, match="at most 1000 classes"):
        Pipeline(folder)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_compiled_on_a_gpu_it_makes_the_same(pixels: Pipeline, model_folder: Path) -> None:
    compiled = Pipeline(model_folder, "cuda", compiled=True)
    for _ in range(3):  # the first ones are recorded
        image = compiled.image(8, 3, 20, 1.5)
        assert distance(levels_of(image), levels_of(pixels.image(8, 3, 20, 1.5))) <= 2
