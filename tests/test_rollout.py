from collections.abc import Mapping

import pytest
import torch
from diffusers.models.transformers.dit_transformer_2d import DiTTransformer2DModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor

from diffes.checkpoint import Checkpoint
from diffes.engine.request import MAX_SEED
from diffes.prompts import Encoded, Rows
from diffes.pruning.calibration import Calibration
from diffes.pruning.model import PrunedModel
from diffes.rollout import initial_state, run, seeded_noise, step
from diffes.sampling import Trajectory, trajectory
from tests.prompting import labelled

SHAPE = (3, 8, 8)
PROMPTS = labelled(8, 3, 0)
LABELS = PROMPTS.wanted["labels"]


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Checkpoint, tiny_weights: dict[str, Tensor], tiny_calibration: Calibration) -> PrunedModel:
    return PrunedModel(tiny_checkpoint.architecture, tiny_weights, tiny_calibration, "none")


@pytest.fixture(scope="module")
def path(tiny_checkpoint: Checkpoint) -> Trajectory:
    return trajectory("DDIMScheduler", tiny_checkpoint.scheduler_config, 20)


def diffusers_images(checkpoint: Checkpoint, noise: Tensor, guidance: float) -> Tensor:
    dit = DiTTransformer2DModel.from_pretrained(checkpoint.denoiser_folder, torch_dtype=torch.float32).eval()
    scheduler = DDIMScheduler.from_pretrained(checkpoint.folder / "scheduler")
    scheduler.set_timesteps(20)
    latents = noise
    with torch.inference_mode():
        for t in scheduler.timesteps:
            times = t.expand(len(noise))
            conditional = dit(latents, timestep=times, class_labels=LABELS).sample
            nothing = dit(latents, timestep=times, class_labels=torch.full_like(LABELS, 10)).sample
            out = nothing + guidance * (conditional - nothing)
            latents = scheduler.step(out, t, latents).prev_sample
    return latents


@pytest.mark.parametrize("guidance", [1.0, 1.5])
def test_a_dense_rollout_is_the_pipeline_of_diffusers(
    tiny_checkpoint: Checkpoint, model: PrunedModel, path: Trajectory, guidance: float
) -> None:
    noise = seeded_noise([1, 2, 3], SHAPE)
    keys = [model.architecture.dense] * 20
    images = run(model, keys, path, initial_state(path, noise), PROMPTS, guidance).latents
    expected = diffusers_images(tiny_checkpoint, noise, guidance)
    assert float((images - expected).abs().max() / expected.abs().max()) < 1e-4


def test_rows_do_not_depend_on_their_company(model: PrunedModel, path: Trajectory) -> None:
    keys = [model.architecture.dense] * 20
    state = initial_state(path, seeded_noise([1, 2, 3], SHAPE))
    together = run(model, keys, path, state, PROMPTS, 1.5).latents
    alone = run(model, keys, path, state.rows(slice(1, 2)), PROMPTS[1:2], 1.5).latents
    assert float((together[1:2] - alone).abs().max() / alone.abs().max()) < 1e-5


def test_a_rollout_can_stop_and_go_on(model: PrunedModel, path: Trajectory) -> None:
    keys = [model.architecture.dense] * 20
    start = initial_state(path, seeded_noise([1, 2, 3], SHAPE))
    halfway = run(model, keys, path, start, PROMPTS, 1.5, stop=7)
    assert halfway.index == 7
    assert start.index == 0
    resumed = run(model, keys, path, halfway, PROMPTS, 1.5)
    assert torch.equal(resumed.latents, run(model, keys, path, start, PROMPTS, 1.5).latents)


class Recorder:
    """Predicts zero and remembers what it was asked."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.timesteps: list[list[float]] = []
        self.encoded: list[list[int]] = []
        self.conditions: dict[str, list[float]] = {}

    def encode(self, prompts: Rows) -> Encoded:
        self.encoded.append(prompts["labels"].tolist())
        return Encoded({"doubled": 2 * prompts["labels"]}, {"text": prompts["labels"] + 0.5})

    def condition(self, timesteps: Tensor, features: Rows) -> dict[str, Tensor]:
        self.timesteps.append(timesteps.tolist())
        return {"both": timesteps + features["doubled"]}

    def denoise(self, key: str, latents: Tensor, conditions: Mapping[str, Tensor], /) -> Tensor:
        self.keys.append(key)
        self.conditions = {name: value.tolist() for name, value in conditions.items()}
        return torch.zeros_like(latents, dtype=torch.float64)


def test_each_step_runs_on_its_own_key_at_its_own_timestep(path: Trajectory) -> None:
    recorder = Recorder()
    keys = [f"plan {i}" for i in range(20)]
    state = run(recorder, keys, path, initial_state(path, seeded_noise([1, 2, 3], SHAPE)), PROMPTS, 1.0)
    assert recorder.keys == keys
    assert recorder.timesteps == [[t] * 3 for t in path.timesteps]
    assert recorder.encoded == [[8, 3, 0]]  # once for all steps
    assert state.latents.dtype == torch.float32


def test_guidance_adds_unconditional_rows_behind_the_conditional(path: Trajectory) -> None:
    recorder = Recorder()
    run(recorder, ["plan"] * 20, path, initial_state(path, seeded_noise([1, 2, 3], SHAPE)), PROMPTS, 2.0)
    assert recorder.encoded == [[8, 3, 0, 10, 10, 10]]


def test_a_step_gets_the_constants_of_its_prompts_and_conditions_of_their_features(path: Trajectory) -> None:
    recorder = Recorder()
    start = initial_state(path, seeded_noise([1, 2, 3], SHAPE))
    step(recorder, "plan", path, start, recorder.encode(PROMPTS.branches(1.0)), 1.0)
    first = path.timesteps[0]
    assert recorder.conditions == {"text": [8.5, 3.5, 0.5], "both": [first + 16, first + 6, first]}


def test_seeded_noise_is_the_same_alone_and_in_company() -> None:
    assert torch.equal(seeded_noise([5, 7], SHAPE)[1:], seeded_noise([7], SHAPE))
    assert not torch.equal(seeded_noise([5], SHAPE), seeded_noise([7], SHAPE))


def test_the_largest_seed_repeats_no_other_seeds_noise() -> None:
    first, last, beyond = seeded_noise([0, MAX_SEED, MAX_SEED + 1], (1, 2, 2))

    assert not torch.equal(first, last)
    assert torch.equal(first, beyond)  # why requests stop there
