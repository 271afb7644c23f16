"""Tiles and their blending are diffusers'."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from diffes.backends import LOCAL_BACKENDS, open_backend
from diffes.backends.tensorrt.profiles import engine_specs
from diffes.backends.tiles import in_tiles
from diffes.bundle import Bundle
from diffes.checkpoint import Checkpoint
from diffes.errors import BundleError, InvalidInput
from diffes.manifest import read_manifest
from diffes.presets import dense_schedule
from diffes.rollout import seeded_noise
from export.job import export_bundle
from tests.bundles import SAMPLER, tiny_vae

TILE = 8


@pytest.mark.parametrize(("height", "width"), [(8, 8), (16, 16), (9, 20), (24, 8), (7, 13), (32, 33)])
def test_an_image_is_that_of_diffusers_tiled_vae(height: int, width: int) -> None:
    vae = tiny_vae()
    vae.enable_tiling()
    vae.tile_latent_min_size, vae.tile_sample_min_size = TILE, 2 * TILE
    latents = seeded_noise(range(2), (3, height, width))

    def decode(part: Tensor) -> Tensor:
        images: Tensor = vae.decoder(vae.post_quant_conv(part))
        return images

    with torch.inference_mode():
        torch.testing.assert_close(in_tiles(decode, latents, TILE), vae.decode(latents).sample, atol=1e-6, rtol=0)


def test_only_what_is_larger_than_a_tile_is_cut() -> None:
    seen: list[tuple[int, ...]] = []

    def decode(part: Tensor) -> Tensor:
        seen.append(tuple(part.shape[2:]))
        return part.repeat_interleave(2, 2).repeat_interleave(2, 3)

    for height, width, tile in ((8, 8, 8), (64, 64, None), (8, 10, 8)):
        in_tiles(decode, torch.zeros(1, 3, height, width), tile)
    assert seen == [(8, 8), (64, 64), (8, 8), (8, 4), (2, 8), (2, 4)]


@pytest.fixture(scope="module")
def tiled(tiny_sdxl: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    out = tmp_path_factory.mktemp("tiled") / "bundle"
    return export_bundle(tiny_sdxl, {"dense": dense_schedule(tiny_sdxl, SAMPLER)}, "dense", None, out, tile=8)


@pytest.mark.parametrize("name", LOCAL_BACKENDS)
def test_a_bundle_with_tiles_is_decoded_in_them(tiled: Bundle, tiny_sdxl_bundle: Bundle, name: str) -> None:
    plain, backend = (open_backend(name, bundle, "cpu", 1) for bundle in (tiny_sdxl_bundle, tiled))
    latents = seeded_noise(range(5), tiled.architecture.latent_shape) * 0.2
    assert tiled.manifest.decode.tile == 4
    found, whole = backend.decode(latents), plain.decode(latents)
    torch.testing.assert_close(found, in_tiles(plain.decode, latents, 4), atol=1e-5, rtol=0)
    assert float((found - whole).abs().max()) > 1e-4
    for each in (plain, backend):
        each.close()


def test_a_bundle_without_tiles_says_nothing_of_them(tiled: Bundle, tiny_sdxl_bundle: Bundle) -> None:
    assert '"tile"' not in (tiny_sdxl_bundle.folder / "manifest.json").read_text()
    assert read_manifest(tiled.folder) == tiled.manifest


@pytest.mark.parametrize("tile", [-8, 0, 4, 12])
def test_a_tile_that_does_not_divide_into_overlaps_is_refused(tiny_sdxl: Checkpoint, tile: int, tmp_path: Path) -> None:
    schedules = {"dense": dense_schedule(tiny_sdxl, SAMPLER)}
    with pytest.raises(InvalidInput, match=f"decode_tile: expected a multiple of 8 pixels, found {tile}"):
        export_bundle(tiny_sdxl, schedules, "dense", None, tmp_path / "bundle", tile=tile)


def test_a_model_of_pixels_has_no_tiles(tiny_checkpoint: Checkpoint, tmp_path: Path) -> None:
    schedules = {"dense": dense_schedule(tiny_checkpoint, SAMPLER)}
    with pytest.raises(InvalidInput, match="decode_tile: expected none: this model's latents are pixels"):
        export_bundle(tiny_checkpoint, schedules, "dense", None, tmp_path / "bundle", tile=8)


def test_tensorrt_refuses_them(tiled: Bundle) -> None:
    with pytest.raises(BundleError, match="decode whole images.*--decode-tile"):
        engine_specs(tiled)
