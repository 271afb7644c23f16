import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from PIL import Image
from safetensors.torch import load_file, save_file

from diffes.checkpoint import Checkpoint
from diffes.errors import CheckpointError, InvalidInput
from diffes.prompts import Encoded, Rows
from diffes.pruning.calibration import CalibrationSpec, calibrate
from diffes.pruning.data import ImageFolder, NoisedData, looking_at
from diffes.pruning.gather import DenseModel
from diffes.sampling import trajectory
from diffes.schedule import Sampler

SPEC = CalibrationSpec(Sampler(class_name="DDIMScheduler", steps=4, guidance=1.5), images=6, batch=3, token_share=1.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight images of 12 x 9 pixels, half of them in folders named like labels."""
    for number in range(8):
        place = tmp_path / ("cat" if number % 4 == 1 else "ship" if number % 4 == 3 else "various")
        place.mkdir(exist_ok=True)
        levels = np.random.default_rng(number).integers(0, 256, (9, 12, 3), dtype=np.uint8)
        Image.fromarray(levels).save(place / f"{number}.png")
    return tmp_path


def test_a_spec_without_a_folder_stays_on_trajectories(tiny_checkpoint: Checkpoint) -> None:
    assert looking_at(SPEC, tiny_checkpoint, None) == SPEC


def test_the_digest_names_the_images_that_are_looked_at(folder: Path, tiny_checkpoint: Checkpoint) -> None:
    spec = looking_at(SPEC, tiny_checkpoint, folder)
    assert spec.source == "data"
    assert spec.data == ImageFolder(folder, 6).digest != ImageFolder(folder, 7).digest
    seen = ImageFolder(folder, 6).files[0]
    Image.new("RGB", (12, 9)).save(seen)
    assert ImageFolder(folder, 6).digest != spec.data


def test_folders_named_like_labels_give_labels(folder: Path, tiny_checkpoint: Checkpoint) -> None:
    images = ImageFolder(folder, 8)
    expected = [{"cat": 3, "ship": 8, "various": None}[path.parent.name] for path in images.files]
    assert images.labels(tiny_checkpoint) == expected


def test_too_few_images_are_refused(folder: Path, tiny_checkpoint: Checkpoint) -> None:
    with pytest.raises(InvalidInput, match=r"9 images below .*found 8"):
        looking_at(CalibrationSpec(SPEC.sampler, images=9), tiny_checkpoint, folder)


def test_another_folders_images_are_refused(folder: Path, tiny_checkpoint: Checkpoint) -> None:
    spec = looking_at(SPEC, tiny_checkpoint, folder)
    Image.new("RGB", (12, 9)).save(ImageFolder(folder, 6).files[0])
    with pytest.raises(InvalidInput, match=f"images of digest {spec.data}"):
        calibrate(tiny_checkpoint, spec, data=folder)


def test_without_the_folder_a_calibration_on_data_cannot_be_made(folder: Path, tiny_checkpoint: Checkpoint) -> None:
    with pytest.raises(InvalidInput, match="Give --calibration-data"):
        calibrate(tiny_checkpoint, looking_at(SPEC, tiny_checkpoint, folder))


class Recorder(DenseModel):
    """Keeps what the dense model is asked."""

    def __init__(self) -> None:
        self.timesteps: list[float] = []
        self.labels: list[list[int]] = []
        self.latents: list[torch.Tensor] = []

    def encode(self, prompts: Rows) -> Encoded:
        return Encoded(prompts)

    def condition(self, timesteps: torch.Tensor, features: Rows) -> dict[str, torch.Tensor]:
        self.timesteps.append(float(timesteps[0]))
        self.labels.append(features["labels"].tolist())
        return {}

    def denoise(self, _key: None, latents: torch.Tensor, _conditions: object, /) -> torch.Tensor:
        self.latents.append(latents)
        return latents


def test_images_are_noised_as_the_sampler_finds_them(folder: Path, tiny_checkpoint: Checkpoint) -> None:
    spec, images, model = looking_at(SPEC, tiny_checkpoint, folder), ImageFolder(folder, 6), Recorder()
    path = trajectory("DDIMScheduler", tiny_checkpoint.scheduler_config, 4)
    asked = list(NoisedData(tiny_checkpoint, spec, images)(model, path, [0, 1, 2]))
    assert tuple(asked) == path.timesteps
    assert model.timesteps == [float(t) for t in path.timesteps]
    labels = [10 if label is None else label for label in images.labels(tiny_checkpoint)[:3]]
    assert model.labels == [labels + [10] * 3] * 4
    betas = np.linspace(1e-4, 0.02, 1000)
    alphas = np.cumprod(1 - betas)
    first, last = model.latents[0], model.latents[-1]
    assert torch.equal(first[:3], first[3:])
    shares = [alphas[int(path.timesteps[i])] for i in (0, -1)]
    # two noise levels of the same image and noise: solve for both
    noise_free = (np.sqrt(1 - shares[1]) * first - np.sqrt(1 - shares[0]) * last) / (
        np.sqrt(shares[0] * (1 - shares[1])) - np.sqrt(shares[1] * (1 - shares[0]))
    )
    assert noise_free.shape == (6, 3, 8, 8)
    assert float(noise_free.abs().max()) <= 1 + 1e-3
    with Image.open(images.files[0]) as opened:
        shrunk = opened.resize((11, 8), Image.Resampling.LANCZOS).crop((1, 0, 9, 8))
    expected = torch.from_numpy(np.asarray(shrunk, dtype=np.float32) / 127.5 - 1).permute(2, 0, 1)
    torch.testing.assert_close(noise_free[0].float(), expected, rtol=0, atol=2e-3)


def test_a_calibration_on_data_differs_from_one_on_trajectories(folder: Path, tiny_checkpoint: Checkpoint) -> None:
    seen = calibrate(tiny_checkpoint, looking_at(SPEC, tiny_checkpoint, folder), data=folder)
    again = calibrate(tiny_checkpoint, looking_at(SPEC, tiny_checkpoint, folder), data=folder)
    own = calibrate(tiny_checkpoint, SPEC)
    name = "blocks.0.fc2.weight"
    assert torch.equal(seen.moments.second[name], again.moments.second[name])
    assert not torch.allclose(seen.moments.second[name], own.moments.second[name], rtol=1e-2)
    assert seen.moments.rows == own.moments.rows == 6 * 2 * 4 * 16


@pytest.fixture
def latent_checkpoint(tiny_model_folder: Path, tmp_path: Path) -> Checkpoint:
    """The tiny model behind a random VAE that halves height and width."""
    model = Path(shutil.copytree(tiny_model_folder, tmp_path / "model"))
    torch.manual_seed(0)
    vae = AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=3,
        norm_num_groups=4,
        scaling_factor=0.25,
        shift_factor=0.1,
    )
    vae.save_pretrained(model / "vae")
    index = json.loads((model / "model_index.json").read_text())
    (model / "model_index.json").write_text(json.dumps(index | {"vae": ["diffusers", "AutoencoderKL"]}))
    return Checkpoint.open(model)


@torch.no_grad()
def test_a_latent_models_images_are_encoded_as_diffusers_does(folder: Path, latent_checkpoint: Checkpoint) -> None:
    vae = AutoencoderKL.from_pretrained(latent_checkpoint.folder / "vae")
    spec, images = looking_at(SPEC, latent_checkpoint, folder), ImageFolder(folder, 6)
    found = NoisedData(latent_checkpoint, spec, images)._latents(images.files[0])
    with Image.open(images.files[0]) as opened:
        grown = opened.resize((21, 16), Image.Resampling.LANCZOS).crop((2, 0, 18, 16))
    pixels = torch.from_numpy(np.asarray(grown, dtype=np.float32) / 127.5 - 1).permute(2, 0, 1)
    expected = (vae.encode(pixels[None]).latent_dist.mean[0] - 0.1) * 0.25
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_a_vae_that_cannot_encode_is_refused(folder: Path, latent_checkpoint: Checkpoint) -> None:
    weights = latent_checkpoint.folder / "vae" / "diffusion_pytorch_model.safetensors"
    save_file({n: t for n, t in load_file(weights).items() if not n.startswith("encoder.")}, weights)
    with pytest.raises(CheckpointError, match=r"no VAE encoder.*own trajectories"):
        calibrate(latent_checkpoint, looking_at(SPEC, latent_checkpoint, folder), data=folder)
