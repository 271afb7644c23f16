"""Recorded steps with a recorder that repeats by running again; on a GPU it is a CUDA graph."""

import pytest
import torch
from torch import Tensor

from diffes.backends.recorded import RecordedSteps, Run

SHAPES = {"latents": (3, 4, 4), "modulation": (2,)}


class Counting:
    """Records by remembering the run, and counts."""

    def __init__(self) -> None:
        self.recorded = 0

    def __call__(self, run: Run) -> Run:
        self.recorded += 1
        output = run()

        def replay() -> Tensor:
            return output.copy_(run())

        return replay


def denoiser(factor: float) -> object:
    def run(latents: Tensor, modulation: Tensor) -> Tensor:
        return factor * latents * modulation.sum(1).view(-1, 1, 1, 1)

    return run


@pytest.fixture
def recorder() -> Counting:
    return Counting()


@pytest.fixture
def steps(recorder: Counting) -> RecordedSteps[str]:
    denoisers = {"wide": denoiser(1), "narrow": denoiser(-2)}
    return RecordedSteps(denoisers, SHAPES, (torch.device("cpu"), torch.float32), recorder, (1, 2, 4))  # type: ignore[arg-type]


def inputs(rows: int, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(rows, *shape, generator=generator) for name, shape in SHAPES.items()}


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 9])
def test_a_batch_of_any_size_computes_what_the_denoiser_does(steps: RecordedSteps[str], rows: int) -> None:
    given = inputs(rows)
    expected = given["latents"] * given["modulation"].sum(1).view(-1, 1, 1, 1)
    torch.testing.assert_close(steps("wide", given), expected)
    torch.testing.assert_close(steps("narrow", given), -2 * expected)


def test_every_subgraph_is_recorded_once_a_bucket(steps: RecordedSteps[str], recorder: Counting) -> None:
    for rows in (3, 4, 1, 3, 11):
        steps("wide", inputs(rows))
    assert recorder.recorded == 2
    steps("narrow", inputs(3))
    assert recorder.recorded == 3


def test_what_a_step_returned_stays_when_the_next_is_taken(steps: RecordedSteps[str]) -> None:
    first = steps("wide", inputs(2))
    before = first.clone()
    steps("wide", inputs(2, seed=1))
    steps("narrow", inputs(2, seed=2))
    assert torch.equal(first, before)


def test_rows_of_an_earlier_step_do_not_show_in_a_smaller_batch(steps: RecordedSteps[str]) -> None:
    given = inputs(3)
    alone = steps("wide", given)
    poison = {name: torch.full_like(value, float("nan")) for name, value in inputs(4).items()}
    steps("wide", poison)
    assert torch.equal(steps("wide", given), alone)


def test_inputs_of_another_type_are_converted() -> None:
    steps = RecordedSteps({"a": denoiser(1)}, SHAPES, (torch.device("cpu"), torch.bfloat16), Counting())  # type: ignore[dict-item]
    found = steps("a", inputs(2))
    assert found.dtype == torch.float32
    exact = inputs(2)["latents"] * inputs(2)["modulation"].sum(1).view(-1, 1, 1, 1)
    torch.testing.assert_close(found, exact, rtol=2e-2, atol=2e-2)
