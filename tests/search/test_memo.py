from dataclasses import replace
from math import inf, nan

import pytest

from diffes.pruning.calibration import Calibration
from search.memo import Memo, code_version, memo_key
from search.problem import Problem


def test_it_remembers_what_was_added() -> None:
    memo = Memo()
    memo.add((1, 2), 0.5)
    assert (1, 2) in memo
    assert memo[(1, 2)] == 0.5
    assert (2, 1) not in memo


def test_a_rollout_that_is_not_finite_counts_as_excluded() -> None:
    memo = Memo([((0,), 1.0)])
    memo.add((1,), nan)
    memo.add((2,), inf)
    assert memo[(1,)] == inf
    assert memo.excluded == 2
    assert memo.best(3) == [(0,)]


def test_entries_restore_it_in_order() -> None:
    memo = Memo([((3,), 0.2), ((1,), None), ((2,), 0.1)])
    again = Memo(memo.entries())
    assert again.entries() == memo.entries()
    assert again.first(2) == [(3,), (1,)]
    assert again.best(2) == [(2,), (3,)]


def test_equal_objectives_rank_in_order_of_evaluation() -> None:
    assert Memo([((5,), 1.0), ((4,), 1.0)]).best(1) == [(5,)]


def test_objectives_of_other_probes_lie_under_another_key(problem: Problem, tiny_calibration: Calibration) -> None:
    rows = [slice(0, 2), slice(2, 4), slice(0, 4)]
    keys = {problem.memo_key(tiny_calibration, r, held_out=h) for r in rows for h in (False, True)}
    assert len(keys) == 6


def test_objectives_of_other_code_lie_under_another_key(
    problem: Problem, tiny_calibration: Calibration, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = problem.memo_key(tiny_calibration, slice(0, 2))
    monkeypatch.setattr("search.problem.code_version", lambda: "other")
    assert problem.memo_key(tiny_calibration, slice(0, 2)) != ours


def test_a_search_that_goes_on_on_another_gpu_finds_what_it_knew(
    problem: Problem, tiny_calibration: Calibration
) -> None:
    first, second, cpu = (
        replace(problem, options=problem.options.model_copy(update={"device": name})).memo_key(
            tiny_calibration, slice(0, 2)
        )
        for name in ("cuda:0", "cuda:1", "cpu")
    )
    assert first == second != cpu


def test_a_key_does_not_depend_on_the_order_of_its_conditions() -> None:
    assert memo_key({"a": 1, "b": [2]}) == memo_key({"b": [2], "a": 1}) != memo_key({"a": 1, "b": [3]})


def test_the_code_has_one_version() -> None:
    assert len(code_version()) == 64
