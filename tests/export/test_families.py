"""Models of every family from calibration to images of a bundle; their text encoders' states are given."""

from pathlib import Path

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from diffes.backends import LOCAL_BACKENDS, open_backend
from diffes.bundle import Bundle
from diffes.engine.engine import Engine
from diffes.engine.request import Request
from diffes.inspection import inspect
from diffes.rollout import initial_state, run
from diffes.router import route
from diffes.verification import require_verified, verify
from export.triton import wrap_bundle
from tests.bundles import SAMPLER
from tests.engine.driving import drain
from tests.families import FAMILIES, Model


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return Model(request.param, tmp_path_factory.mktemp(request.param))


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
