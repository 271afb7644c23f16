"""Recorded calls with a recorder that repeats by running again; on a GPU it is a CUDA graph."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from diffes.backends.buckets import in_pieces
from diffes.backends.calls import PlainCalls, RecordedCalls, alone, step_inputs
from diffes.backends.recorder import Outputs, Run
from diffes.prompts import RowSpec

CPU = torch.device("cpu")
SHAPES = {"latents": (3, 4, 4), "modulation": (2,)}


class Counting:
    """Records by remembering the run, and counts."""

    def __init__(self) -> None:
        self.recorded = 0

    def __call__(self, run: Run) -> Run:
        self.recorded += 1
        outputs = run()

        def replay() -> Outputs:
            return [output.copy_(value) for output, value in zip(outputs, run(), strict=True)]

        return replay


def denoiser(factor: float) -> Callable[..., Outputs]:
    def run(latents: Tensor, modulation: Tensor) -> Tensor:
        return factor * latents * modulation.sum(1).view(-1, 1, 1, 1)

    return alone(run)


@pytest.fixture
def recorder() -> Counting:
    return Counting()


@pytest.fixture
def steps(recorder: Counting) -> RecordedCalls[str]:
    denoisers = {"wide": denoiser(1), "narrow": denoiser(-2)}
    return RecordedCalls(denoisers, step_inputs(SHAPES, torch.float32), CPU, recorder, buckets=(1, 2, 4))


def inputs(rows: int, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(rows, *shape, generator=generator) for name, shape in SHAPES.items()}


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 9])
def test_a_batch_of_any_size_computes_what_the_denoiser_does(steps: RecordedCalls[str], rows: int) -> None:
    given = inputs(rows)
    expected = given["latents"] * given["modulation"].sum(1).view(-1, 1, 1, 1)
    torch.testing.assert_close(steps("wide", given)[0], expected)
    torch.testing.assert_close(steps("narrow", given)[0], -2 * expected)


def test_every_subgraph_is_recorded_once_a_bucket(steps: RecordedCalls[str], recorder: Counting) -> None:
    for rows in (3, 4, 1, 3, 11):
        steps("wide", inputs(rows))
    assert recorder.recorded == 2
    steps("narrow", inputs(3))
    assert recorder.recorded == 3


def test_what_a_step_returned_stays_when_the_next_is_taken(steps: RecordedCalls[str]) -> None:
    (first,) = steps("wide", inputs(2))
    before = first.clone()
    steps("wide", inputs(2, seed=1))
    steps("narrow", inputs(2, seed=2))
    assert torch.equal(first, before)


def test_rows_of_an_earlier_step_do_not_show_in_a_smaller_batch(steps: RecordedCalls[str]) -> None:
    given = inputs(3)
    (before,) = steps("wide", given)
    poison = {name: torch.full_like(value, float("nan")) for name, value in inputs(4).items()}
    steps("wide", poison)
    assert torch.equal(steps("wide", given)[0], before)


def test_inputs_of_another_type_are_converted() -> None:
    steps = RecordedCalls({"a": denoiser(1)}, step_inputs(SHAPES, torch.bfloat16), CPU, Counting())
    (found,) = steps("a", inputs(2))
    assert found.dtype == torch.float32
    exact = inputs(2)["latents"] * inputs(2)["modulation"].sum(1).view(-1, 1, 1, 1)
    torch.testing.assert_close(found, exact, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("rows", [1, 3, 9])
def test_every_output_comes_back_as_it_is_unless_a_type_is_asked_for(rows: int) -> None:
    def embed(timesteps: Tensor, labels: Tensor) -> Outputs:
        return (timesteps[:, None] * torch.arange(3.0)).bfloat16(), labels[:, None] + 1

    given = {"timesteps": RowSpec(torch.float32), "labels": RowSpec(torch.int64)}
    calls = RecordedCalls({"": embed}, given, CPU, Counting(), buckets=(2, 4), dtype=None)
    inputs = {"timesteps": torch.arange(rows) + 0.5, "labels": torch.arange(rows)}
    for found, expected in zip(calls("", inputs), embed(**inputs), strict=True):
        assert found.dtype == expected.dtype
        assert torch.equal(found, expected)


def test_plain_calls_convert_and_may_run_in_pieces() -> None:
    seen: list[int] = []

    def double(latents: Tensor) -> Tensor:
        seen.append(len(latents))
        return 2 * latents

    inputs = step_inputs({"latents": (3,)}, torch.bfloat16)
    calls = PlainCalls({"": alone(partial(in_pieces, double, most=4))}, inputs, CPU)
    (found,) = calls("", {"latents": torch.arange(30.0).view(10, 3)})
    assert found.dtype == torch.float32
    assert torch.equal(found, 2 * torch.arange(30.0).view(10, 3))
    assert seen == [4, 4, 2]


def test_rows_of_another_shape_are_recorded_apart(steps: RecordedCalls[str], recorder: Counting) -> None:
    square, wide = inputs(2), inputs(2) | {"latents": torch.ones(2, 3, 4, 6)}
    for given in (square, wide, square, wide):
        expected = denoiser(1)(**given)[0]
        torch.testing.assert_close(steps("wide", given)[0], expected)
    assert recorder.recorded == 2
