"""Models of every family from calibration to images of a bundle; their text encoders' states are given."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor

from diffes.backends import LOCAL_BACKENDS, open_backend
from diffes.bundle import Bundle
from diffes.checkpoint import Checkpoint
from diffes.engine.engine import Engine
from diffes.engine.request import Request
from diffes.inspection import inspect
from diffes.pruning.calibration import Calibration, calibrate
from diffes.pruning.spec import CalibrationSpec
from diffes.rollout import initial_state, run, seeded_noise
from diffes.router import route
from diffes.verification import require_verified, verify
from export.triton import wrap_bundle
from tests.architectures.tiny import UNETS, tiny_pixart, tiny_unet
from tests.bundles import SAMPLER, export
from tests.engine.driving import drain

STAGES = ((0, 0), (1, 1), (2, 0), (0, 2))  # (heads, channels) level of two parts


class Model:
    """One family's: diffusers' model, its checkpoint, calibration and bundle."""

    def __init__(self, made: Any, folder: Path) -> None:
        self.made = made
        made.save_pretrained(folder / "denoiser")
        scheduler = DDIMScheduler(beta_start=1e-4, beta_end=0.02, clip_sample=False)
        self.checkpoint = Checkpoint(  # opening a folder would refuse it: its texts cannot be encoded yet
            folder=folder,
            denoiser_folder=folder / "denoiser",
            class_name=type(made).__name__,
            config=json.loads((folder / "denoiser" / "config.json").read_text()),
            scheduler_config=dict(scheduler.config),
            labels=("first", "second")[: len(self._examples(made))],
            vae_folder=None,
        )
        spec = CalibrationSpec(sampler=SAMPLER.model_copy(update={"steps": 4}), images=4, batch=4)
        self.calibration: Calibration = calibrate(self.checkpoint, spec)
        self.bundle = export(self.checkpoint, STAGES, self.calibration, folder / "bundle", "full")

    @staticmethod
    def _examples(made: Any) -> Any:
        from diffes.architectures import architecture_for

        return architecture_for(type(made).__name__, made.config).examples()

    def noise(self) -> Tensor:
        return seeded_noise([1, 2], self.bundle.architecture.latent_shape)


@pytest.fixture(scope="module", params=["pixart", "unet"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    made = tiny_pixart() if request.param == "pixart" else tiny_unet(**UNETS["small"])
    return Model(made, tmp_path_factory.mktemp(request.param))


def test_a_bundle_holds_every_weight_once_and_an_encoder(model: Model) -> None:
    manifest = Bundle.open(model.bundle.folder).manifest

    assert manifest.encode is not None
    assert {spec.name for spec in manifest.encode.inputs} == set(model.bundle.architecture.prompt_inputs())
    assert manifest.blob.dense_bytes >= 4 * sum(tensor.numel() for tensor in model.checkpoint.weights().values())
    assert inspect(model.bundle).dense_bytes == manifest.blob.dense_bytes


@pytest.mark.parametrize("name", LOCAL_BACKENDS)
def test_every_subgraph_computes_what_torch_computes(model: Model, name: str) -> None:
    backend = open_backend(name, model.bundle, "cpu", 1)

    require_verified(verify(model.bundle, backend), name)

    backend.close()


@pytest.mark.parametrize("name", LOCAL_BACKENDS)
@torch.no_grad()
def test_the_dense_schedule_makes_diffusers_images(model: Model, name: str) -> None:
    architecture, guidance = model.bundle.architecture, 1.5
    prompts = architecture.examples().in_turn([0, 1])
    scheduler = DDIMScheduler.from_config(dict(model.bundle.manifest.scheduler))
    scheduler.set_timesteps(8)
    latents, rows = model.noise(), prompts.branches(guidance)
    for timestep in scheduler.timesteps:
        inputs = architecture.diffusers_inputs(timestep.expand(4), rows)
        out = model.made(latents.repeat(2, 1, 1, 1), **inputs).sample[:, : architecture.latent_shape[0]]
        wanted, unwanted = out.chunk(2)
        latents = scheduler.step(unwanted + guidance * (wanted - unwanted), timestep, latents).prev_sample

    backend, path = open_backend(name, model.bundle, "cpu", 1), model.bundle.trajectory(8, "dense")
    keys = [model.bundle.subgraph_of[architecture.dense]] * 8
    found = run(backend, keys, path, initial_state(path, model.noise()), prompts, guidance).latents

    assert latents.std() > 0.1
    assert (found - latents).abs().max() <= 1e-3
    backend.close()


def test_the_engine_gives_every_request_the_rollout_of_its_prompt(model: Model) -> None:
    backend, bundle = open_backend("torch", model.bundle, "cpu", 1), model.bundle
    engine = Engine(bundle, backend)
    last = len(bundle.labels) - 1
    asked = [Request(prompt=bundle.wording.prompt(label), seed=seed, steps=4) for label, seed in ((0, 1), (last, 2))]
    futures = [engine.submit(request) for request in asked]
    drain(engine, *futures)

    path = bundle.trajectory(4)
    keys = route(bundle.schedule(), bundle.subgraph_of, path).subgraphs
    prompts = bundle.architecture.examples().in_turn([0, last])
    end = run(backend, keys, path, initial_state(path, model.noise()), prompts, SAMPLER.guidance)
    expected = end.latents.clamp(-1, 1)
    for place, future in enumerate(futures):
        assert torch.allclose(future.result().images[0], expected[place], atol=1e-4)


def test_a_triton_repository_takes_prompts(model: Model, tmp_path: Path) -> None:
    wrap_bundle(model.bundle, tmp_path / "repository")

    (config,) = (tmp_path / "repository").rglob("config.pbtxt")
    text = config.read_text()
    named = {*model.bundle.architecture.prompt_inputs(), *model.bundle.architecture.condition_shapes(), "added"}
    assert all(f'name: "{name}"' in text for name in named)
