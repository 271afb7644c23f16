from math import exp, inf
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from diffes.architectures.adaln_step import AdaLNStep
from diffes.schedule import BlockPlan
from search.error_table import ErrorTable, TableEntry, errors_of, interpolated, table_passes, together
from search.fitness import Distance
from search.genome import GenomeSpace
from search.options import TableMethod
from search.problem import Problem
from tests.search.strategies import spaces


def entries_of(problem: Problem, levels: list[int], method: TableMethod = "teacher-forced") -> list[TableEntry]:
    return sum(table_passes(problem.space, sorted(set(problem.step_stages)), levels, method), [])


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


def test_only_genes_of_stages_that_run_are_measured(problem: Problem) -> None:
    entries = sum(table_passes(problem.space, [0, 3], [1, 2], "rollout"), [])
    assert {entry.stage for entry in entries} == {0, 3}
    assert len({entry.name for entry in entries}) == 8


def test_the_first_pass_measures_the_middle_level_and_every_stage_together(problem: Problem) -> None:
    first, *others = table_passes(problem.space, [0, 1], [2, 4, 6], "teacher-forced")
    names = ["0/0/heads/4", "0/0/channels/4", "1/0/heads/4", "1/0/channels/4", "0/together", "1/together"]
    assert [entry.name for entry in first] == names
    assert [{entry.level for entry in entries} for entries in others] == [{2}, {6}]


@given(spaces())
def test_every_entry_of_any_space_has_a_name_of_its_own(space: GenomeSpace) -> None:
    levels = sorted({1, space.top})
    entries = sum(table_passes(space, range(space.stages), levels, "teacher-forced"), [])
    assert len({entry.name for entry in entries}) == len(entries) == space.genes * len(levels) + space.stages


def test_a_table_without_its_last_passes_can_be_used(problem: Problem) -> None:
    first, *_ = table_passes(problem.space, sorted(set(problem.step_stages)), [1, 2, 4], "rollout")
    errors = errors_of({entry.name: 0.4 for entry in first}, problem.space, problem.budget, [1, 2, 4])
    assert np.all(errors[problem.budget.movable, 2] == 0.4)


def test_a_rollout_entry_is_the_distance_of_its_single_gene(distance: Distance) -> None:
    table = ErrorTable(distance, "rollout")
    assert table.measure(TableEntry(2, 5, 3, "")) == distance(distance.space.single(5, 3))


def test_entries_of_a_stage_add_up_to_what_its_genes_cost_together(problem: Problem, distance: Distance) -> None:
    table = ErrorTable(distance, "teacher-forced")
    measured = {entry.name: table.measure(entry) for entry in entries_of(problem, [2])}
    errors = errors_of(measured, problem.space, problem.budget, [2])
    for stage in distance.rollouts.executed:
        whole = [2 if gene // 2 == stage else 0 for gene in range(10)]
        assert errors[2 * stage : 2 * stage + 2, 2].sum() == pytest.approx(distance(whole))


def test_a_teacher_forced_error_is_near_the_rollouts(problem: Problem, distance: Distance) -> None:
    table = ErrorTable(distance, "teacher-forced")
    measured = {entry.name: table.measure(entry) for entry in entries_of(problem, [2])}
    errors = errors_of(measured, problem.space, problem.budget, [2])
    exact = {int(gene): distance(problem.space.single(int(gene), 2)) for gene in problem.budget.movable}
    least = max(exact.values()) / 1000  # what hardly matters is rounding on either side
    for gene, error in exact.items():
        assert max(error, least) / 4 < max(errors[gene, 2], least) < max(error, least) * 4


def test_work_is_what_the_denoiser_did(distance: Distance, monkeypatch: pytest.MonkeyPatch) -> None:
    space = GenomeSpace.of(distance.space.grid.dense, 5, "block")
    fine = Distance(space, distance.rollouts, distance.teacher, distance.objective, distance.clip)
    architecture, done = distance.rollouts.model.architecture, list[int]()
    resume = AdaLNStep.resume

    def counted(step: Any, first: int, x: Tensor, *modulations: Tensor, **named: Tensor) -> Tensor:
        plan = tuple(BlockPlan(0, 0) if i < first else b for i, b in enumerate(step.plan))
        done.append(len(x) * architecture.macs(plan))
        return resume(step, first, x, *modulations, **named)

    monkeypatch.setattr(AdaLNStep, "resume", counted)
    methods: tuple[TableMethod, ...] = ("teacher-forced", "rollout")
    for method in methods:
        table = ErrorTable(fine, method)
        for entry in sum(table_passes(space, [1, 2], [2], method), []):
            done.clear()
            table.measure(entry)
            assert table.work(entry) == sum(done)


def test_a_block_is_not_run_again_to_measure_a_later_one(distance: Distance) -> None:
    space = GenomeSpace.of(distance.space.grid.dense, 5, "block")
    table = ErrorTable(Distance(space, *list(vars(distance).values())[1:]), "teacher-forced")
    first, later = TableEntry(1, 5, 1, ""), TableEntry(1, 7, 1, "")  # channels of blocks 0 and 1
    assert table.work(later) < 0.6 * table.work(first)


def test_errors_cover_the_genes_that_move_and_no_others(problem: Problem) -> None:
    table = {entry.name: 0.1 * entry.level for entry in entries_of(problem, [2, 4], "rollout")}
    errors = errors_of(table, problem.space, problem.budget, [2, 4])
    assert errors.shape == (10, 5)
    assert set(np.flatnonzero(errors.any(axis=1))) == set(problem.budget.movable)


def test_what_a_stage_comes_to_is_shared_out_among_its_genes(problem: Problem) -> None:
    table = {entry.name: 3.0 if entry.gene is None else 0.5 for entry in entries_of(problem, [4])}
    errors = errors_of(table, problem.space, problem.budget, [4])
    assert errors[problem.budget.movable, 4].tolist() == [1.5] * len(problem.budget.movable)


def test_a_stage_that_gives_no_samples_together_is_dear(problem: Problem) -> None:
    table = {entry.name: inf if entry.gene is None else 0.5 for entry in entries_of(problem, [4])}
    errors = errors_of(table, problem.space, problem.budget, [4])
    assert np.all(errors[problem.budget.movable, 4] > 1e5)
    assert np.all(np.isfinite(errors))


def test_a_stage_is_never_emptied_to_learn_what_its_errors_come_to(problem: Problem) -> None:
    dense = problem.space.grid.dense
    assert together(GenomeSpace.of(dense, 2, "block"), 4) == [4, 5, 6, 7]
    assert together(GenomeSpace.of(dense, 2, "block", depth="alone"), 2) == [3]
