"""What every backend must do, whatever runs underneath: a shared suite over one bundle."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from diffusers.models.transformers.dit_transformer_2d import DiTTransformer2DModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from torch import Tensor

from diffes.backends import BACKENDS, LOCAL_BACKENDS, Backend, open_backend
from diffes.backends.fake import FakeBackend
from diffes.bundle import Bundle
from diffes.checkpoint import Checkpoint
from diffes.errors import BackendError, BundleError
from diffes.prompts import Rows
from diffes.pruning.calibration import Calibration
from diffes.pruning.model import PrunedModel
from diffes.rollout import conditions_of, initial_state, run, seeded_noise
from diffes.router import route
from diffes.sampling import trajectory
from tests.prompting import labelled

TOLERANCE = {"onnxruntime": 1e-4, "torch": 1e-5, "triton": 1e-4}  # of outputs of magnitude 1


ON_A_GPU = [
    pytest.param(
        f"{name} cuda",
        marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")],
    )
    for name in ("torch", "onnxruntime")
]


@pytest.fixture(scope="module", params=[*LOCAL_BACKENDS, *ON_A_GPU])
def real(request: pytest.FixtureRequest, tiny_bundle: Bundle) -> Iterator[Backend]:
    """Each backend that computes the model."""
    backend = opened(request.param, tiny_bundle, request)
    yield backend
    backend.close()


@pytest.fixture(params=[*LOCAL_BACKENDS, *ON_A_GPU, "fake"])
def make(request: pytest.FixtureRequest, tiny_bundle: Bundle) -> Callable[[], Backend]:
    """Opens a backend, the fake among them."""
    if request.param == "fake":
        return FakeBackend
    return lambda: opened(request.param, tiny_bundle, request)


def opened(where: str, bundle: Bundle, request: pytest.FixtureRequest) -> Backend:
    """A backend by name on one CPU thread, here or in a server, or on the device that follows its name."""
    name, _, device = where.partition(" ")
    if name == "triton":
        return open_backend(name, bundle, request.getfixturevalue("triton_server").address)
    return open_backend(name, bundle, device or "cpu", None if device else 1)


@pytest.fixture(scope="module")
def reference(tiny_checkpoint: Checkpoint, tiny_calibration: Calibration) -> PrunedModel:
    """The pruned model in memory."""
    state = tiny_checkpoint.architecture.convert(tiny_checkpoint.denoiser_state())
    return PrunedModel(tiny_checkpoint.architecture, state, tiny_calibration, "none")


def batch(rows: int) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Latents, timesteps and prompts of rows at different steps."""
    return seeded_noise(range(rows), (3, 8, 8)), torch.arange(rows) * 100.0 + 3, {"labels": torch.arange(rows) % 11}


def conditioned(backend: Backend, timesteps: Tensor, prompts: Rows) -> dict[str, Tensor]:
    """What steps take beside latents."""
    return conditions_of(backend, backend.encode(prompts), timesteps)


def test_every_subgraph_computes_what_its_plan_computes_in_torch(
    real: Backend, tiny_bundle: Bundle, reference: PrunedModel
) -> None:
    latents, timesteps, prompts = batch(5)
    conditions = real.condition(timesteps, prompts)
    for subgraph in tiny_bundle.manifest.subgraphs:
        expected = reference.denoise(subgraph.plan, latents, reference.condition(timesteps, prompts))
        found = real.denoise(subgraph.id, latents, conditions).cpu()
        assert found.dtype == torch.float32
        assert (found - expected).abs().max() <= TOLERANCE[real.name] * max(1.0, float(expected.abs().max()))


def test_conditions_are_named_and_shaped_as_the_architecture_says(real: Backend, tiny_bundle: Bundle) -> None:
    shapes = tiny_bundle.architecture.condition_shapes()
    conditions = real.condition(torch.tensor([7.0, 999.0, 0.5]), {"labels": torch.tensor([0, 10, 3])})
    assert {name: tuple(value.shape) for name, value in conditions.items()} == {
        name: (3, *shape) for name, shape in shapes.items()
    }


SCHEDULERS = (DDIMScheduler, EulerDiscreteScheduler, DPMSolverMultistepScheduler)


@pytest.mark.parametrize("scheduler_class", SCHEDULERS, ids=lambda c: c.__name__)
def test_the_dense_schedule_makes_diffusers_images(
    real: Backend, tiny_bundle: Bundle, tiny_model_folder: Path, scheduler_class: type
) -> None:
    steps, guidance, labels = 20, 1.5, torch.tensor([3, 8])
    noise = seeded_noise([1, 2], (3, 8, 8))
    path = trajectory(scheduler_class.__name__, tiny_bundle.manifest.scheduler, steps)
    dense = tiny_bundle.subgraph_of[tiny_bundle.architecture.dense]
    found = run(real, [dense] * steps, path, initial_state(path, noise), labelled(3, 8), guidance).latents.cpu()
    expected = diffusers_latents(tiny_model_folder, scheduler_class, noise, labels, steps, guidance)
    assert (found - expected).abs().max() <= 1e-3


@torch.no_grad()
def diffusers_latents(
    folder: Path, scheduler_class: type, noise: Tensor, labels: Tensor, steps: int, guidance: float
) -> Tensor:
    """diffusers' own model and sampler loop with classifier-free guidance."""
    model = DiTTransformer2DModel.from_pretrained(folder, subfolder="transformer", torch_dtype=torch.float32).eval()
    scheduler = scheduler_class.from_config(DDIMScheduler.load_config(folder, subfolder="scheduler"))  # type: ignore[attr-defined]
    scheduler.set_timesteps(steps)
    latents: Tensor = noise * scheduler.init_noise_sigma
    for timestep in scheduler.timesteps:
        rows = scheduler.scale_model_input(torch.cat([latents, latents]), timestep)
        classes = torch.cat([labels, torch.full_like(labels, 10)])
        out = model(rows, timestep=timestep.expand(len(rows)), class_labels=classes).sample
        conditional, unconditional = out.chunk(2)
        out = unconditional + guidance * (conditional - unconditional)
        latents = scheduler.step(out, timestep, latents).prev_sample
    return latents


def test_a_row_alone_is_the_row_in_company(make: Callable[[], Backend], tiny_bundle: Bundle) -> None:
    backend = make()
    latents, timesteps, prompts = batch(6)
    conditions = conditioned(backend, timesteps, prompts)
    for subgraph in tiny_bundle.subgraph_of.values():
        together = backend.denoise(subgraph, latents, conditions)
        for row in range(6):
            only = slice(row, row + 1)
            alone = backend.denoise(subgraph, latents[only], {k: v[only] for k, v in conditions.items()})
            assert (together[only] - alone).abs().max() <= 1e-4
    backend.close()


def test_the_same_call_twice_gives_the_same_bits(make: Callable[[], Backend], tiny_bundle: Bundle) -> None:
    backend = make()
    latents, timesteps, prompts = batch(4)
    subgraph = tiny_bundle.subgraph_of[tiny_bundle.architecture.dense]
    first = backend.denoise(subgraph, latents, conditioned(backend, timesteps, prompts)).clone()
    second = backend.denoise(subgraph, latents, conditioned(backend, timesteps, prompts))
    assert torch.equal(first, second)
    backend.close()


def test_every_stage_visits_its_own_subgraph(make: Callable[[], Backend], tiny_bundle: Bundle) -> None:
    backend = make()
    latents, timesteps, prompts = batch(2)
    conditions = conditioned(backend, timesteps, prompts)
    path = tiny_bundle.trajectory(20)
    visited = route(tiny_bundle.schedule(), tiny_bundle.subgraph_of, path)
    plans = {subgraph.id: subgraph.plan for subgraph in tiny_bundle.manifest.subgraphs}
    outputs = {}
    for timestep, stage, subgraph in zip(path.timesteps, visited.stages, visited.subgraphs, strict=True):
        interval = tiny_bundle.schedule().stages[stage]
        assert interval.low <= timestep <= interval.high
        assert plans[subgraph] == interval.blocks
        outputs[subgraph] = backend.denoise(subgraph, latents, conditions)
    values = list(outputs.values())
    assert len(values) == 9
    for i, value in enumerate(values):
        assert all(not torch.allclose(value, other, atol=1e-6) for other in values[:i])
    backend.close()


def test_pixels_are_clamped(make: Callable[[], Backend]) -> None:
    backend = make()
    images = backend.decode(torch.tensor([-3.0, -0.5, 0.5, 3.0]).view(1, 1, 2, 2).expand(1, 3, 2, 2))
    assert images[0, 0].flatten().tolist() == [-1.0, -0.5, 0.5, 1.0]
    backend.close()


def test_a_closed_backend_refuses(make: Callable[[], Backend], tiny_bundle: Bundle) -> None:
    backend = make()
    latents, timesteps, prompts = batch(1)
    conditions = conditioned(backend, timesteps, prompts)
    backend.close()
    backend.close()
    with pytest.raises(BackendError, match="closed"):
        backend.denoise(next(iter(tiny_bundle.subgraph_of.values())), latents, conditions)
    with pytest.raises(BackendError, match="closed"):
        conditioned(backend, timesteps, prompts)


def test_it_is_a_backend(make: Callable[[], Backend]) -> None:
    backend = make()
    assert isinstance(backend, Backend)
    backend.close()


@pytest.mark.parametrize("name", BACKENDS)
def test_a_device_there_is_none_of_is_refused_at_start(tiny_bundle: Bundle, name: str) -> None:
    with pytest.raises(BackendError, match="expected.*found abacus"):
        open_backend(name, tiny_bundle, "abacus")


@pytest.mark.parametrize("name", LOCAL_BACKENDS)
def test_a_blob_changed_under_a_running_backend_fails_the_next_request(
    tiny_bundle: Bundle, tmp_path: Path, name: str
) -> None:
    copied = Bundle.open(Path(shutil.copytree(tiny_bundle.folder, tmp_path / "copy")))
    backend = open_backend(name, copied, "cpu", 1)
    backend.condition(torch.tensor([7.0]), {"labels": torch.tensor([0])})
    with (copied.folder / copied.manifest.blob.file).open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"oops")
    with pytest.raises(BundleError, match="was changed while it was in use"):
        backend.condition(torch.tensor([7.0]), {"labels": torch.tensor([0])})
    backend.close()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize("name", BACKENDS)
def test_cuda_is_never_quietly_replaced(tiny_bundle: Bundle, name: str) -> None:
    with pytest.raises(BackendError, match=r"expected .*(CUDA|device)"):
        open_backend(name, tiny_bundle, "cuda")


def test_an_unknown_backend_is_refused_with_the_ones_there_are(tiny_bundle: Bundle) -> None:
    with pytest.raises(BackendError, match=f"expected one of {', '.join(BACKENDS)}, found abacus"):
        open_backend("abacus", tiny_bundle)
