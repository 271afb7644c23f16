from math import exp, inf
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from diffes.rollout import State
from search.error_table import Entry, errors_of, interpolated, measure, table_passes
from search.fitness import Distance
from search.problem import Problem
from search.rollouts import Rollouts


@given(st.floats(0.1, 2), st.floats(1e-6, 1))
def test_exponential_growth_is_found_between_and_below_the_measured_levels(slope: float, scale: float) -> None:
    levels = [2, 4, 6]
    row = interpolated(levels, [scale * exp(slope * level) for level in levels], 8)
    assert row[1:7] == pytest.approx([scale * exp(slope * level) for level in range(1, 7)])


def test_levels_beyond_the_measured_ones_grow_twice_as_fast() -> None:
    row = interpolated([2, 4], [exp(2), exp(4)], 6)
    assert row[5:] == pytest.approx([exp(6), exp(8)])


@given(st.lists(st.floats(0, 10), min_size=3, max_size=3))
def test_errors_never_fall_with_the_level(errors: list[float]) -> None:
    row = interpolated([2, 4, 6], errors, 8)
    assert row[0] == 0
    assert np.all(np.diff(row) >= 0)


def test_measured_levels_keep_their_errors() -> None:
    assert interpolated([1, 2, 3, 4], [0.1, 0.2, 0.5, 0.9], 4).tolist() == [0, 0.1, 0.2, 0.5, 0.9]


def test_one_measurement_tells_its_level_and_that_others_differ() -> None:
    row = interpolated([2], [0.4], 4)
    assert row[2] == 0.4
    assert 0 < row[1] < 0.4 < row[3] < row[4]


def test_levels_beyond_a_failed_one_are_forbidden() -> None:
    row = interpolated([2, 4, 6], [0.1, 0.2, inf], 8)
    assert np.all(np.isfinite(row[:5]))
    assert np.all(np.isinf(row[5:]))


def test_only_stages_that_run_are_measured() -> None:
    entries = sum(table_passes([0, 3], [1, 2], "rollout"), [])
    assert {entry.stage for entry in entries} == {0, 3}
    assert len({entry.name for entry in entries}) == 8


def test_the_first_pass_measures_the_middle_level_and_every_amplification() -> None:
    first, *others = table_passes([0, 1], [2, 4, 6], "teacher-forced")
    names = ["0/heads/4", "0/channels/4", "1/heads/4", "1/channels/4", "0/amplification", "1/amplification"]
    assert [entry.name for entry in first] == names
    assert [{entry.level for entry in entries} for entries in others] == [{2}, {6}]


def test_a_table_without_its_last_passes_can_be_used(problem: Problem) -> None:
    first, *_ = table_passes(sorted(set(problem.step_stages)), [1, 2, 4], "rollout")
    errors = errors_of({entry.name: 0.4 for entry in first}, problem.space, problem.budget, [1, 2, 4])
    assert np.all(errors[problem.budget.movable, 2] == 0.4)


def test_a_rollout_entry_is_the_distance_of_its_single_gene(distance: Distance) -> None:
    entry = Entry(2, "channels", 3)
    assert measure(entry, distance, [1, 3], "rollout") == distance(distance.space.single(2, "channels", 3))


def test_a_teacher_forced_entry_times_its_amplification_is_near_the_rollouts(distance: Distance) -> None:
    for stage in distance.rollouts.executed:
        forced = measure(Entry(stage, "heads", 2), distance, [2], "teacher-forced")
        factor = measure(Entry(stage, "heads", None), distance, [2], "teacher-forced")
        exact = measure(Entry(stage, "heads", 2), distance, [2], "rollout")
        assert exact / 3 < forced * factor < exact * 3


def test_a_table_costs_one_stage_per_teacher_forced_entry(distance: Distance, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    run = Rollouts.run

    def counted(rollouts: Rollouts, keys: Any, state: State, labels: Tensor, stop: int | None = None) -> State:
        steps.append((len(rollouts.path.steps) if stop is None else stop) - state.index)
        return run(rollouts, keys, state, labels, stop)

    monkeypatch.setattr(Rollouts, "run", counted)
    measure(Entry(1, "heads", 2), distance, [2], "teacher-forced")
    measure(Entry(1, "heads", 2), distance, [2], "rollout")
    assert steps == [1, 4]


def test_errors_cover_the_genes_that_move_and_no_others(problem: Problem) -> None:
    levels = [2, 4]
    entries = sum(table_passes(sorted(set(problem.step_stages)), levels, "rollout"), [])
    table = {entry.name: 0.1 * (entry.level or 0) for entry in entries}
    errors = errors_of(table, problem.space, problem.budget, levels)
    assert errors.shape == (10, 5)
    assert set(np.flatnonzero(errors.any(axis=1))) == set(problem.budget.movable)


def test_an_amplification_scales_its_stage(problem: Problem) -> None:
    entries = sum(table_passes(sorted(set(problem.step_stages)), [4], "teacher-forced"), [])
    table = {entry.name: 3.0 if entry.level is None else 0.5 for entry in entries}
    errors = errors_of(table, problem.space, problem.budget, [4])
    assert errors[problem.budget.movable, 4].tolist() == [1.5] * len(problem.budget.movable)
