from dataclasses import replace

import pytest

from search.fitness import Distance
from search.forced import ForcedStep


def test_the_dense_plan_has_no_error_from_any_block(distance: Distance) -> None:
    step = ForcedStep(distance, 1)
    assert [step.error(distance.rollouts.dense, first) for first in (0, 1)] == [0, 0]


def test_starting_at_a_pruned_block_equals_starting_at_the_first(distance: Distance) -> None:
    plan = distance.space.grid.plan_blocks([(0, 0), (2, 3)])
    step = ForcedStep(distance, 2)
    assert step.error(plan, 1) == pytest.approx(step.error(plan, 0), rel=1e-4)
    assert step.error(plan, 1) > 0


def test_splitting_into_batches_changes_nothing(distance: Distance) -> None:
    plan = distance.space.grid.plan(1, 2)
    split = replace(distance, rollouts=replace(distance.rollouts, batch=3))
    assert ForcedStep(split, 1).error(plan, 0) == pytest.approx(ForcedStep(distance, 1).error(plan, 0), rel=1e-4)


def test_without_guidance_one_row_an_image_is_run(distance: Distance) -> None:
    plain = replace(distance, rollouts=replace(distance.rollouts, guidance=1.0))
    assert ForcedStep(plain, 1).error(distance.space.grid.plan(1, 2), 0) > 0


def test_the_step_leaves_no_hook_behind(distance: Distance) -> None:
    ForcedStep(distance, 1)
    denoiser = distance.rollouts.model.denoiser(distance.rollouts.dense)
    assert vars(denoiser)["entry"] is None
