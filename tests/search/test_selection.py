from math import inf

import pytest

from diffes.errors import SearchError
from search.memo import Memo
from search.selection import choose, finalists

A, B, C, UNIFORM = (1,), (2,), (3,), (9,)


def test_finalists_are_the_best_few_and_the_uniform_schedule() -> None:
    memo = Memo([(A, 0.3), (B, 0.1), (C, 0.2), (UNIFORM, 0.9)])
    assert finalists(memo, 2, UNIFORM) == [B, C, UNIFORM]


def test_a_uniform_schedule_among_the_best_is_not_measured_twice() -> None:
    assert finalists(Memo([(A, 0.3), (UNIFORM, 0.1)]), 2, UNIFORM) == [UNIFORM, A]


def test_the_best_on_held_out_noise_is_chosen() -> None:
    assert choose([B, C, UNIFORM], Memo([(B, 0.5), (C, 0.4), (UNIFORM, 0.6)])) == C


def test_of_equals_the_better_in_the_search_is_chosen() -> None:
    assert choose([B, C], Memo([(C, 0.5), (B, 0.5)])) == B


def test_failed_finalists_cannot_be_chosen() -> None:
    assert choose([B, C], Memo([(B, inf), (C, 0.5)])) == C
    with pytest.raises(SearchError, match="no schedule's samples are finite"):
        choose([B], Memo([(B, inf)]))
