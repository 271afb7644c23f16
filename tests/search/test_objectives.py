import json
import sys
from math import isnan
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor

from diffes.bundled import bundled_model
from diffes.checkpoint import Checkpoint
from diffes.errors import InvalidInput, QualityError
from diffes.quality import FeatureExtractor, mean_squared_error
from search.objectives import OBJECTIVES, Features, image_shape, objective_for
from search.options import SearchOptions
from search.problem import Problem
from tests.conftest import tiny_dit
from tests.search.conftest import small_options

EVERY = pytest.mark.parametrize("name", OBJECTIVES)


def samples(count: int = 4, seed: int = 0) -> Tensor:
    """Smooth images [count, 3, 32, 32] within [-1, 1]."""
    noise = torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(noise, size=32, mode="bilinear").tanh()


@pytest.fixture(scope="module")
def pixels() -> Checkpoint:
    """A model of 32 x 32 pixels; only its configs are read here."""
    return Checkpoint.open(bundled_model())


@pytest.fixture(scope="module")
def latents(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A model of latents [4, 8, 8] whose VAE decodes them to 32 x 32 pixels."""
    folder = tmp_path_factory.mktemp("models") / "latent"
    model = tiny_dit(in_channels=4, out_channels=4)
    model.save_pretrained(folder / "transformer")
    torch.manual_seed(0)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(4, 4, 4),
        norm_num_groups=2,
        latent_channels=4,
    )
    vae.save_pretrained(folder / "vae")
    (folder / "scheduler").mkdir()
    config = {"_class_name": "DDIMScheduler", "num_train_timesteps": 1000}
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps(config))
    (folder / "model_index.json").write_text(json.dumps({"vae": ["diffusers", "AutoencoderKL"]}))
    return Checkpoint.open(folder)


@EVERY
def test_equal_samples_are_at_no_distance(name: str, pixels: Checkpoint) -> None:
    assert objective_for(name, pixels)(samples(), samples()) == pytest.approx(0, abs=1e-6)


@EVERY
def test_different_samples_are_at_a_distance_that_does_not_depend_on_the_order(name: str, pixels: Checkpoint) -> None:
    objective = objective_for(name, pixels)
    there, back = objective(samples(), samples(seed=1)), objective(samples(seed=1), samples())
    assert there > 1e-3
    assert there == pytest.approx(back, rel=1e-6)


@EVERY
def test_more_noise_is_farther_away(name: str, pixels: Checkpoint) -> None:
    dense = samples()
    noise = torch.randn(dense.shape, generator=torch.Generator().manual_seed(2))
    objective = objective_for(name, pixels)
    distances = [objective(dense + scale * noise, dense) for scale in (0.05, 0.1, 0.2, 0.4)]
    assert distances == sorted(distances)
    assert distances[0] > 0


@EVERY
def test_the_same_samples_are_judged_the_same_again(name: str, pixels: Checkpoint) -> None:
    twice = [objective_for(name, pixels)(samples(), samples(seed=1)) for _ in range(2)]
    assert twice[0] == twice[1]


@EVERY
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_sample_that_is_not_finite_gives_nan(name: str, value: float, pixels: Checkpoint) -> None:
    broken = samples()
    broken[1, 0, 3, 3] = value
    assert isnan(objective_for(name, pixels)(broken, samples()))


@EVERY
def test_latents_are_judged_by_the_images_they_decode_to(name: str, latents: Checkpoint) -> None:
    dense = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(dense.shape, generator=torch.Generator().manual_seed(1))
    objective = objective_for(name, latents, batch=2)

    assert objective(dense, dense) == pytest.approx(0, abs=1e-6)
    assert objective(dense + noise, dense) > objective(dense + noise / 10, dense) > 0


def test_decoding_in_batches_changes_nothing(latents: Checkpoint) -> None:
    a, b = (torch.randn(5, 4, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    pieces, whole = (objective_for("pixel-mse", latents, batch=batch)(a, b) for batch in (2, 5))
    assert pieces == pytest.approx(whole, rel=1e-5)


def test_in_pixel_space_the_error_of_images_is_that_of_clipped_latents(pixels: Checkpoint) -> None:
    wild = samples() * 3
    assert objective_for("pixel-mse", pixels)(wild, samples()) == mean_squared_error(wild.clamp(-1, 1), samples())
    assert objective_for("mse", pixels)(wild, samples()) == mean_squared_error(wild, samples())


def test_an_images_size_follows_from_the_configs(pixels: Checkpoint, latents: Checkpoint) -> None:
    assert image_shape(pixels) == (3, 32, 32)
    assert image_shape(latents) == (3, 32, 32)


def test_a_folder_that_holds_no_feature_network_is_named(pixels: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(QualityError, match=str(tmp_path)):
        objective_for("features", pixels, features=tmp_path)


@pytest.mark.parametrize("name", ["ssim", *(n for n, d in OBJECTIVES.items() if isinstance(d, Features))])
def test_images_an_objective_cannot_judge_are_refused_before_anything_runs(
    name: str, tiny_checkpoint: Checkpoint
) -> None:
    with pytest.raises(QualityError, match=rf"objective {name} cannot judge .*\(3, 8, 8\)"):
        Problem.of(tiny_checkpoint, small_options(objective=name))


def test_one_probe_has_no_frechet_distance(pixels: Checkpoint) -> None:
    with pytest.raises(InvalidInput, match="invalid probes: expected at least 2"):
        objective_for("frechet", pixels, probes=1)


@pytest.mark.parametrize("name", ["psnr", "pyiqa:", ""])
def test_an_unknown_name_is_refused_with_the_names_there_are(name: str) -> None:
    with pytest.raises(InvalidInput, match="invalid objective: expected one of mse, cosine, .*pyiqa:METRIC"):
        SearchOptions.checked({"macs": 0.5, "objective": name})


def test_an_optional_package_that_is_absent_is_named(pixels: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    with pytest.raises(QualityError, match=r"pip install diffes\[iqa\]"):
        objective_for("pyiqa:niqe", pixels)


def test_a_score_is_compared_with_the_dense_models(pixels: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    class Darkness:
        def __init__(self, *_name: Any, **_options: Any) -> None: ...

        def __call__(self, images: Tensor) -> float:
            return float(images.mean())

    monkeypatch.setattr("diffes.quality.iqa.ImageScore", Darkness)
    objective = objective_for("pyiqa:darkness", pixels)

    assert objective(samples(), samples()) == 0
    assert objective(samples() - 0.1, samples()) < 0 < objective(samples() + 0.1, samples())


def test_features_are_loaded_from_the_folder_that_is_named(pixels: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    load = FeatureExtractor.load

    def spied(folder: Path, device: str) -> FeatureExtractor:
        asked.append(folder)
        return load(folder, device)

    monkeypatch.setattr(FeatureExtractor, "load", spied)
    bundled = bundled_model().parent / "cifar10-features"
    objective_for("features", pixels, features=bundled)
    assert asked == [bundled]
