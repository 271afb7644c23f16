from math import inf, nan

from search.memo import Memo


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
    assert again.first(2) == {(3,), (1,)}
    assert again.best(2) == [(2,), (3,)]


def test_equal_objectives_rank_in_order_of_evaluation() -> None:
    assert Memo([((5,), 1.0), ((4,), 1.0)]).best(1) == [(5,)]
