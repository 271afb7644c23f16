"""The backend around an execution, on a stand-in for the runtime; and the real one where there is a GPU for it."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from diffes.backends import Backend
from diffes.backends.tensorrt.backend import TensorRTBackend
from diffes.backends.tensorrt.gpu import open_gpu, require_supported
from diffes.backends.tensorrt.package import find_package
from diffes.backends.torch import TorchBackend
from diffes.bundle import Bundle
from diffes.errors import BackendError
from diffes.prompts import Rows
from diffes.rollout import seeded_noise
from tests.backends.tensorrt.standin import MEMORY, Cache, Standin


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Standin:
    """Takes the place of package, GPU and cache."""
    standin, backend = Standin(), "diffes.backends.tensorrt.backend"
    monkeypatch.setattr(f"{backend}.find_package", lambda: standin.package)
    monkeypatch.setattr(f"{backend}.open_gpu", lambda _: MEMORY)
    monkeypatch.setattr(f"{backend}.EngineCache", Cache)
    return standin


@pytest.fixture(scope="module")
def reference(tiny_bundle: Bundle) -> Iterator[Backend]:
    backend = TorchBackend(tiny_bundle, "cpu", 1)
    yield backend
    backend.close()


def batch(rows: int) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Latents, timesteps and features of rows at different steps."""
    return seeded_noise(range(rows), (3, 8, 8)), torch.arange(rows) * 20.0 + 3, {"labels": torch.arange(rows) % 11}


@pytest.mark.parametrize("rows", [1, 2, 3, 8, 11])
def test_every_plan_computes_what_torch_computes_whatever_the_number_of_rows(
    runtime: Standin, tiny_bundle: Bundle, reference: Backend, rows: int
) -> None:
    backend = TensorRTBackend(tiny_bundle, batches=(2, 8))
    assert isinstance(backend, Backend)
    latents, timesteps, features = batch(rows)
    conditions, expected = (
        backend.condition(timesteps, features),
        reference.condition(timesteps, features),
    )
    assert list(conditions) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(conditions[name], value, rtol=1e-5, atol=1e-5)
    for subgraph in tiny_bundle.manifest.subgraphs:
        found = backend.denoise(subgraph.id, latents, conditions)
        wanted = reference.denoise(subgraph.id, latents, expected)
        assert found.dtype == torch.float32
        assert (found - wanted).abs().max() <= 1e-4 * float(wanted.abs().max())
    assert runtime.executed
    backend.close()


def test_calls_use_the_profile_of_their_plan_and_size(runtime: Standin, tiny_bundle: Bundle) -> None:
    backend = TensorRTBackend(tiny_bundle, batches=(2, 8))
    latents, timesteps, features = batch(11)
    conditions = backend.condition(timesteps, features)
    for position, subgraph in enumerate(tiny_bundle.manifest.subgraphs):
        runtime.executed.clear()
        backend.denoise(subgraph.id, latents, conditions)
        assert [profile for profile, _, _ in runtime.executed] == [2 * position + 1, 2 * position, 2 * position]
        assert [shapes["latents"][0] for _, shapes, _ in runtime.executed] == [8, 2, 2]
        kept = {shapes["weights.blocks.0.fc1.bias"][0] for _, shapes, _ in runtime.executed}
        assert kept == {subgraph.plan[0].channels}
    backend.close()


def test_all_contexts_take_turns_in_one_scratch_buffer(runtime: Standin, tiny_bundle: Bundle) -> None:
    backend = TensorRTBackend(tiny_bundle, batches=(2, 8))
    latents, timesteps, features = batch(3)
    conditions = backend.condition(timesteps, features)
    for subgraph in tiny_bundle.manifest.subgraphs:
        backend.denoise(subgraph.id, latents, conditions)
    assert len({scratch for _, _, scratch in runtime.executed}) == 1
    backend.close()


@pytest.mark.usefixtures("runtime")
def test_results_outlive_the_next_call(tiny_bundle: Bundle) -> None:
    backend = TensorRTBackend(tiny_bundle, batches=(2, 8))
    latents, timesteps, features = batch(4)
    conditions = backend.condition(timesteps, features)
    first, last = tiny_bundle.manifest.subgraphs[0].id, tiny_bundle.manifest.subgraphs[-1].id
    found = backend.denoise(first, latents, conditions)
    kept = found.clone()
    backend.denoise(last, -latents, conditions)
    assert torch.equal(found, kept)
    backend.close()


def test_latents_decode_as_in_torch(runtime: Standin, latent_bundle: Bundle) -> None:
    reference = TorchBackend(latent_bundle, "cpu", 1)
    backend = TensorRTBackend(latent_bundle, batches=(2, 8))
    latents = seeded_noise(range(3), (3, 8, 8)) * 0.2
    assert (backend.decode(latents) - reference.decode(latents)).abs().max() <= 1e-4
    assert [shapes["latents"][0] for _, shapes, _ in runtime.executed] == [2, 1]
    backend.close()


def test_images_of_every_size_are_those_of_torch(runtime: Standin, tiny_sdxl_sized: Bundle) -> None:
    reference = TorchBackend(tiny_sdxl_sized, "cpu", 1)
    backend = TensorRTBackend(tiny_sdxl_sized, batches=(2,))
    wording, inputs = tiny_sdxl_sized.wording, tiny_sdxl_sized.architecture.prompt_inputs()
    (subgraph,) = tiny_sdxl_sized.manifest.subgraphs
    for size in tiny_sdxl_sized.sizes:
        prompts = wording.prompt(text="a red cat", unwanted="a dog", size=size).rows(inputs).branches(3.0)
        latents = seeded_noise(range(2), tiny_sdxl_sized.latents_of(size))
        steps = [step_of(each, prompts, subgraph.id, latents) for each in (backend, reference)]
        torch.testing.assert_close(*steps, rtol=1e-4, atol=1e-4)
        decoded = [each.decode(latents[:1]) for each in (backend, reference)]
        torch.testing.assert_close(*decoded, rtol=1e-4, atol=1e-4)
    assert len({shapes["latents"] for _, shapes, _ in runtime.executed if "latents" in shapes}) == 6
    with pytest.raises(
        BackendError, match=r"no profile for these latents: expected one of .*\(16, 8\).*, found \(4, 4\)"
    ):
        backend.decode(torch.zeros(1, 4, 4, 4))
    backend.close()


def step_of(backend: Backend, prompts: Rows, subgraph: str, latents: Tensor) -> Tensor:
    """A step from the same noise, of what a backend makes of prompts itself."""
    encoded = backend.encode(prompts)
    conditions = backend.condition(torch.full((len(latents),), 500.0), encoded.features)
    return backend.denoise(subgraph, latents, {**conditions, **encoded.constants})


def test_pixels_are_clamped(runtime: Standin, tiny_bundle: Bundle) -> None:
    backend = TensorRTBackend(tiny_bundle, batches=(2,))
    assert backend.decode(torch.tensor([-3.0, 0.5]).view(1, 1, 1, 2)).flatten().tolist() == [-1.0, 0.5]
    assert not runtime.executed
    backend.close()


def test_a_closed_backend_refuses(runtime: Standin, tiny_bundle: Bundle) -> None:
    backend = TensorRTBackend(tiny_bundle, batches=(2,))
    backend.close()
    backend.close()
    with pytest.raises(BackendError, match="closed"):
        backend.condition(torch.tensor([1.0]), {"labels": torch.tensor([1])})
    assert not runtime.executed


def test_an_execution_that_fails_is_an_error(runtime: Standin, tiny_bundle: Bundle) -> None:
    backend = TensorRTBackend(tiny_bundle, batches=(2,))
    runtime.failing = True
    with pytest.raises(BackendError, match=r"tensorrt failed in condition\.onnx"):
        backend.condition(torch.tensor([1.0]), {"labels": torch.tensor([1])})
    backend.close()


def test_an_engine_that_the_runtime_refuses_is_an_error_with_a_remedy(runtime: Standin, tiny_bundle: Bundle) -> None:
    runtime.refusing = True
    with pytest.raises(BackendError, match=r"cannot load its engine of network-.*Delete the engine from the cache"):
        TensorRTBackend(tiny_bundle, batches=(2,))


@pytest.mark.gpu
def test_on_a_gpu_it_computes_what_torch_computes(tiny_bundle: Bundle, reference: Backend) -> None:
    try:
        require_supported(open_gpu("cuda"), find_package())
    except BackendError as error:
        pytest.skip(str(error))
    backend = TensorRTBackend(tiny_bundle, "cuda", batches=(2, 8))
    latents, timesteps, features = batch(11)
    conditions, expected = (
        backend.condition(timesteps, features),
        reference.condition(timesteps, features),
    )
    for subgraph in tiny_bundle.manifest.subgraphs:
        found = backend.denoise(subgraph.id, latents, conditions).cpu()
        wanted = reference.denoise(subgraph.id, latents, expected)
        assert (found - wanted).abs().max() <= 1e-4 * float(wanted.abs().max())
    backend.close()
