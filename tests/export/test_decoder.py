"""A checkpoint with a VAE: its decoder lies in the same blob and decodes as diffusers does."""

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor

from diffes.backends import LOCAL_BACKENDS, open_backend
from diffes.bundle import Bundle
from diffes.decoder import LatentDecoder
from diffes.errors import CheckpointError
from diffes.inspection import inspect
from diffes.rollout import seeded_noise
from export.triton import wrap_bundle
from tests.bundles import latent_bundle, tiny_vae
from tests.tritonserver import HOSTING, Server


@pytest.fixture(scope="module")
def vae() -> AutoencoderKL:
    return tiny_vae()


@pytest.fixture(scope="module")
def bundle(tiny_model_folder: Path, vae: AutoencoderKL, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return latent_bundle(tiny_model_folder, vae, tmp_path_factory.mktemp("latent"))


@torch.no_grad()
def decoded(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """diffusers' own decoding."""
    images: Tensor = vae.decode(latents / vae.config.scaling_factor + vae.config.shift_factor).sample
    return images.clamp(-1, 1)


@pytest.mark.parametrize("name", LOCAL_BACKENDS)
def test_latents_decode_as_in_diffusers(bundle: Bundle, vae: AutoencoderKL, name: str) -> None:
    backend = open_backend(name, bundle, "cpu", 1)
    for rows in (1, 3):
        latents = seeded_noise(range(rows), (3, 8, 8)) * 0.2
        images = backend.decode(latents)
        assert images.shape == (rows, 3, 16, 16)
        assert (images - decoded(vae, latents)).abs().max() <= 1e-4
    backend.close()


@pytest.mark.parametrize("upcast", [True, False])
def test_a_vae_that_float16_is_not_enough_for_stays_in_float32(
    tiny_model_folder: Path, tmp_path: Path, upcast: bool
) -> None:
    vae = tiny_vae()
    vae.register_to_config(force_upcast=upcast)
    bundle = latent_bundle(tiny_model_folder, vae, tmp_path, dtype="float16")
    assert bundle.dtype == torch.float16
    assert bundle.decoded_dtype == (torch.float32 if upcast else torch.float16)
    assert {entry.dtype for name, entry in bundle.blob.entries.items() if name.startswith("vae.")} == {
        bundle.decoded_dtype
    }
    latents = seeded_noise(range(2), (3, 8, 8)) * 0.2
    error = float((open_backend("torch", bundle, "cpu", 1).decode(latents) - decoded(vae, latents)).abs().max())
    assert error < 1e-4 if upcast else error > 1e-4


def test_a_triton_server_decodes_as_diffusers_does(
    start_triton: Callable[[Path], Server], bundle: Bundle, vae: AutoencoderKL, tmp_path: Path
) -> None:
    wrap_bundle(bundle, tmp_path / "repository", hosting=HOSTING)
    backend = open_backend("triton", bundle, start_triton(tmp_path / "repository").address)
    latents = seeded_noise(range(5), (3, 8, 8)) * 0.2
    assert (backend.decode(latents) - decoded(vae, latents)).abs().max() <= 1e-4
    backend.close()


def test_the_decoders_weights_are_in_the_blob_under_diffusers_names(bundle: Bundle, vae: AutoencoderKL) -> None:
    stored = {name.removeprefix("vae."): bundle.blob[name] for name in bundle.blob if name.startswith("vae.")}
    state = {name: t for name, t in vae.state_dict().items() if name.startswith(("decoder.", "post_quant_conv."))}
    graph = bundle.manifest.decode.graph
    assert graph is not None
    assert set(graph.prefixes) == set(state)
    for name, tensor in state.items():
        spec = graph.prefixes[name]
        assert torch.equal(bundle.blob[spec.tensor], tensor)
    assert len(stored) <= len(state)  # equal tensors (fresh biases and norms) are stored once


def test_no_weight_of_the_decoder_is_transposed(bundle: Bundle) -> None:
    model = onnx.load(bundle.folder / "decode.onnx", load_external_data=False)
    weights = {tensor.name for tensor in model.graph.initializer}
    readers = {node.op_type for node in model.graph.node if weights & set(node.input)}
    assert "FusedMatMul" in readers
    assert "Transpose" not in readers


def test_the_decoders_network_takes_its_weights_as_inputs(bundle: Bundle) -> None:
    graph = bundle.manifest.decode.graph
    assert graph is not None
    model = onnx.load(bundle.folder / bundle.network(graph).file)
    assert {value.name for value in model.graph.input} == {"latents", *graph.prefixes}


def test_the_decoder_does_not_count_as_the_denoisers_memory(bundle: Bundle) -> None:
    assert inspect(bundle).memory_ratio == 1.0


def test_a_decoder_of_another_class_is_refused() -> None:
    with pytest.raises(CheckpointError, match="expected AutoencoderKL, found VQModel"):
        LatentDecoder({"_class_name": "VQModel"}, {})


def test_a_decoder_without_its_tensors_is_refused(vae: AutoencoderKL) -> None:
    state = dict(vae.state_dict())
    del state["decoder.conv_in.bias"]
    with pytest.raises(CheckpointError, match="lacks a tensor: expected decoder.conv_in.bias"):
        LatentDecoder({**vae.config, "_class_name": "AutoencoderKL"}, state)
