"""The maths of a step: company, order and batch size change no image."""

import pytest
import torch

from diffes import rollout
from diffes.backends.fake import FakeBackend
from diffes.bundle import Bundle
from diffes.engine.engine import Engine
from diffes.engine.request import Limits, Request
from diffes.pruning.model import PrunedModel
from diffes.router import route
from diffes.sampling import SAMPLERS
from tests.engine.conftest import STEPS, EngineFactory, MemoryBackend
from tests.engine.driving import MIXED, TOLERANCE, drain, run
from tests.prompting import labelled, of_label


def test_a_mixed_batch_gives_every_request_what_it_gets_alone(engine_with: EngineFactory) -> None:
    together = run(engine_with(Limits(batch=8)), *MIXED)
    for request, images in zip(MIXED, together, strict=True):
        (alone,) = run(engine_with(Limits(batch=1)), request)
        assert torch.allclose(images, alone, atol=TOLERANCE)


def test_a_request_that_joins_between_steps_changes_no_image(engine_with: EngineFactory) -> None:
    early, late = MIXED[0], MIXED[4]
    engine = engine_with(Limits(batch=4))
    futures = [engine.submit(early)]
    engine.step()
    futures.append(engine.submit(late))
    drain(engine, *futures)
    for future, request in zip(futures, (early, late), strict=True):
        (alone,) = run(engine_with(), request)
        assert torch.allclose(future.result().images, alone, atol=TOLERANCE)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_an_image_is_the_rollout_of_its_seed(
    bundle: Bundle, backend: MemoryBackend, model: PrunedModel, sampler: str
) -> None:
    bundle = sampled_by(bundle, sampler)
    engine = Engine(bundle, backend)
    company = [engine.submit(Request(prompt=of_label(1), seed=i)) for i in range(3)]
    engine.step()
    future = engine.submit(Request(prompt=of_label(2), seed=11, guidance=3.0))
    drain(engine, future, *company)
    schedule, path = bundle.schedule(), bundle.trajectory(STEPS)
    plans = [schedule.stages[schedule.stage_index(t)].blocks for t in path.timesteps]
    state = rollout.initial_state(path, rollout.seeded_noise([11], bundle.architecture.latent_shape))
    end = rollout.run(model, plans, path, state, labelled(2), 3.0)
    assert torch.allclose(future.result().images[0], end.latents[0].clamp(-1, 1), atol=TOLERANCE)


def sampled_by(bundle: Bundle, class_name: str) -> Bundle:
    """The bundle with another sampler in every schedule."""
    schedules = {
        name: schedule.model_copy(update={"sampler": schedule.sampler.model_copy(update={"class_name": class_name})})
        for name, schedule in bundle.manifest.schedules.items()
    }
    return Bundle(bundle.folder, bundle.manifest.model_copy(update={"schedules": schedules}))


def test_n_images_are_n_requests_with_following_seeds(engine_with: EngineFactory) -> None:
    (images,) = run(engine_with(), Request(prompt=of_label(4), seed=20, images=5))
    singles = run(engine_with(), *(Request(prompt=of_label(4), seed=20 + j) for j in range(5)))
    assert torch.allclose(images, torch.cat(singles), atol=TOLERANCE)


def test_images_keep_their_order_when_they_finish_in_several_batches(engine_with: EngineFactory) -> None:
    (narrow,) = run(engine_with(Limits(batch=2)), Request(prompt=of_label(4), seed=20, images=5))
    (wide,) = run(engine_with(Limits(batch=8)), Request(prompt=of_label(4), seed=20, images=5))
    assert torch.allclose(narrow, wide, atol=TOLERANCE)


def test_guidance_one_runs_no_unconditional_rows(engine_with: EngineFactory, backend: MemoryBackend) -> None:
    run(engine_with(), Request(prompt=of_label(0), seed=0, guidance=1.0))
    assert [rows for _, rows in backend.calls] == [1] * STEPS


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_what_a_prompt_is_encoded_to_is_in_every_step_of_its_images(bundle: Bundle, guidance: float) -> None:
    engine, alone = Engine(bundle, FakeBackend()), FakeBackend()  # which has nothing of the label but a constant
    asked = [engine.submit(Request(prompt=of_label(label), seed=label, guidance=guidance)) for label in (7, 2)]
    drain(engine, *asked)
    path = bundle.trajectory(STEPS)
    keys = route(bundle.schedule(), bundle.subgraph_of, path).subgraphs
    for label, future in zip((7, 2), asked, strict=True):
        state = rollout.initial_state(path, rollout.seeded_noise([label], bundle.architecture.latent_shape))
        end = rollout.run(alone, keys, path, state, labelled(label), guidance)
        assert torch.allclose(future.result().images[0], end.latents[0].clamp(-1, 1), atol=TOLERANCE)
        assert future.result().images.abs().min() < 1  # not all clipped
