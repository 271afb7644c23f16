"""What a caller hears while its images are made, and that a deterministic one shares no step."""

import pytest
import torch

from diffes.bundle import Bundle
from diffes.engine.path import find_path
from diffes.engine.request import Preview, Progress, Request
from diffes.errors import InvalidInput
from tests.engine.conftest import STEPS, EngineFactory, MemoryBackend
from tests.engine.driving import drain, run
from tests.prompting import of_label

Heard = list[Progress | Preview]


def test_every_step_of_every_image_is_told_with_its_stage(engine_with: EngineFactory) -> None:
    engine, heard = engine_with(), Heard()
    drain(engine, engine.submit(Request(prompt=of_label(0), seed=0, images=2, steps=8), heard.append))
    assert heard == [Progress(image, step, 8, (step - 1) // 2) for step in range(1, 9) for image in range(2)]


def test_previews_come_where_stages_end_and_are_what_the_image_would_be(engine_with: EngineFactory) -> None:
    engine, heard = engine_with(), Heard()
    future = engine.submit(Request(prompt=of_label(0), seed=0, images=2, previews=3), heard.append)
    drain(engine, future)
    previews = [event for event in heard if isinstance(event, Preview)]
    assert [(preview.image, preview.index) for preview in previews] == [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2)]
    for image, pixels in enumerate(future.result().images):
        distances = [float((preview.pixels - pixels).norm()) for preview in previews if preview.image == image]
        assert distances == sorted(distances, reverse=True)
        assert previews[image].pixels.abs().max() <= 1


@pytest.mark.parametrize(("wanted", "steps"), [(0, ()), (1, (4,)), (2, (2, 6)), (3, (2, 4, 6)), (9, (2, 4, 6))])
def test_previews_are_spread_over_the_trajectory(bundle: Bundle, wanted: int, steps: tuple[int, ...]) -> None:
    assert find_path(bundle, "mixed", 8, guided=True).preview_steps(wanted) == steps


def test_without_a_listener_no_preview_is_decoded(engine_with: EngineFactory, backend: MemoryBackend) -> None:
    decoded: list[str] = []
    backend.before = lambda graph, _rows: decoded.append(graph) if graph == "decode" else None
    run(engine_with(), Request(prompt=of_label(0), seed=0, previews=3))
    assert len(decoded) == 1


def test_previews_change_no_image(engine_with: EngineFactory) -> None:
    engine = engine_with()
    future = engine.submit(Request(prompt=of_label(3), seed=5, previews=3), lambda _: None)
    drain(engine, future)
    assert torch.equal(future.result().images, run(engine_with(), Request(prompt=of_label(3), seed=5))[0])


def test_too_many_previews_are_refused(engine_with: EngineFactory) -> None:
    with pytest.raises(InvalidInput, match=r"invalid previews: expected 0\.\.16, found 17"):
        engine_with().submit(Request(prompt=of_label(0), seed=0, previews=17))


def test_a_deterministic_request_shares_no_step_and_is_bit_equal_in_any_company(
    engine_with: EngineFactory, backend: MemoryBackend
) -> None:
    asked = Request(prompt=of_label(4), seed=8, images=2, deterministic=True)
    (alone,) = run(engine_with(), asked)
    backend.calls.clear()
    engine = engine_with()
    crowd = [engine.submit(Request(prompt=of_label(n), seed=n)) for n in range(3)]
    future = engine.submit(asked)
    drain(engine, future, *crowd)
    assert torch.equal(future.result().images, alone)
    assert [rows for _, rows in backend.calls].count(2) == 2 * STEPS
    assert all(stage.mean_batch == 1 for stage in future.result().timings.stages)
