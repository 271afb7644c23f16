"""Who has least to do, as told by a table that workers share."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffes.serving.workers.loads import Duty, Loads
from diffes.serving.workers.place import Place


def loads(folder: Path, workers: int) -> list[Loads]:
    """Every worker's view; all engines are ready."""
    for duty in duties(folder, workers):
        duty.ready(yes=True)
    return [Loads(Place(folder, worker, workers)) for worker in range(1, workers + 1)]


def duties(folder: Path, workers: int) -> list[Duty]:
    """Every engine's view."""
    return [Duty(Place(folder, worker, workers)) for worker in range(1, workers + 1)]


def test_requests_that_come_to_one_worker_together_are_spread_over_all(tmp_path: Path) -> None:
    one, *_ = loads(tmp_path, 4)
    assert Counter(one.assign(1.0) for _ in range(16)) == {1: 4, 2: 4, 3: 4, 4: 4}


def test_a_worker_whose_engine_is_as_free_as_any_keeps_what_it_was_asked_for(tmp_path: Path) -> None:
    one, two = loads(tmp_path, 2)
    assert (one.assign(1.0), two.assign(1.0)) == (1, 2)


def test_what_counts_is_seconds_whoever_placed_them(tmp_path: Path) -> None:
    one, two = loads(tmp_path, 2)
    assert one.assign(10.0) == 1
    assert [two.assign(2.0) for _ in range(4)] == [2] * 4
    two.release(2, 2.0)
    assert [one.assign(3.0) for _ in range(3)] == [2, 2, 1]


def test_what_takes_longer_than_was_thought_counts_as_long_as_it_takes(tmp_path: Path) -> None:
    one, two = loads(tmp_path, 2)
    assert one.assign(1.0) == 1
    one.correct(1, 4.0)
    assert [two.assign(2.0) for _ in range(3)] == [2, 2, 2]
    one.release(1, 5.0)
    assert one.assign(1.0) == 1


def test_an_engine_that_is_not_ready_gets_nothing(tmp_path: Path) -> None:
    one, two = loads(tmp_path, 2)
    engines = duties(tmp_path, 2)
    engines[1].ready(yes=False)
    assert [one.assign(1.0) for _ in range(3)] == [1, 1, 1]
    assert two.assign(1.0) == 1
    assert one.ready == two.ready == {1}
    assert [engine.is_ready for engine in engines] == [True, False]
    engines[1].ready(yes=True)
    assert one.assign(1.0) == 2
    for engine in engines:
        engine.ready(yes=False)
    assert one.assign(1.0) is None


def test_an_engine_that_was_found_to_be_gone_gets_nothing_until_it_is_ready_again(tmp_path: Path) -> None:
    one, _, three = loads(tmp_path, 3)
    one.lose(2)
    assert [one.assign(1.0) for _ in range(4)] == [1, 3, 1, 3]
    assert three.assign(1.0) == 2  # who has not found it yet
    duties(tmp_path, 3)[1].ready(yes=True)
    assert one.assign(1.0) == 2


def test_what_a_worker_that_is_gone_had_placed_is_forgotten(tmp_path: Path) -> None:
    one, two = loads(tmp_path, 2)
    assert two.assign(5.0) == 2
    assert two.assign(5.0) == 1
    first, second = duties(tmp_path, 2)
    first.forget(2)
    assert one.assign(1.0) == 1  # of two engines with 0 and 5 seconds
    second.forget(2)
    assert one.assign(0.5) == 2


def test_a_worker_that_is_started_again_has_placed_nothing(tmp_path: Path) -> None:
    one, two = loads(tmp_path, 2)
    assert two.assign(5.0) == 2
    again = Loads(Place(tmp_path, 2, 2))
    assert again.ready == {1, 2}
    assert [one.assign(1.0), one.assign(1.0)] == [1, 2]


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.7, 3.3]), st.booleans()), max_size=60))
def test_when_all_is_done_nothing_is_left(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[float, bool]]
) -> None:
    one, two, three = loads(tmp_path_factory.mktemp("loads"), 3)
    inside: list[tuple[int, float]] = []
    for seconds, release in steps:
        if release and inside:
            one.release(*inside.pop(0))
        worker = one.assign(seconds)
        assert worker is not None
        inside.append((worker, seconds))
    for placed in inside:
        one.release(*placed)
    assert [two.assign(1.0) for _ in range(2)] == [2, 3]
    assert three.assign(1.0) == 1
