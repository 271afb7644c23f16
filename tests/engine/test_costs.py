from random import Random

import pytest

from diffes.engine.costs import StepCosts
from tests.engine.scenarios import path

TABLE = {"a": {2: 1.0, 4: 1.5, 8: 2.5}}


@pytest.mark.parametrize(("rows", "seconds"), [(1, 1.0), (2, 1.0), (3, 1.25), (4, 1.5), (6, 2.0), (8, 2.5), (16, 5.0)])
def test_between_measured_rows_costs_are_linear_and_beyond_them_as_dear_a_row(rows: int, seconds: float) -> None:
    assert StepCosts(TABLE).seconds("a", rows) == pytest.approx(seconds)


@pytest.mark.parametrize(("rows", "seconds"), [(1, 1.0), (3, 1.5), (5, 2.5), (8, 2.5), (10, 3.5)])
def test_a_padded_call_costs_what_its_bucket_does(rows: int, seconds: float) -> None:
    assert StepCosts(TABLE, buckets=(2, 4, 8)).seconds("a", rows) == pytest.approx(seconds)


def test_what_is_left_is_the_sum_of_the_steps_left() -> None:
    costs, keys = StepCosts(TABLE | {"b": {2: 3.0, 4: 4.0}}), path(*"aab")
    assert [costs.remaining(keys, step) for step in range(4)] == pytest.approx([5.0, 4.0, 3.0, 0.0])
    assert costs.remaining(keys, 1, company=2) == pytest.approx((1.5 + 4.0) / 2)


def test_a_machine_that_slows_down_slows_down_for_every_subgraph() -> None:
    costs = StepCosts(TABLE | {"b": {2: 3.0}})
    for _ in range(200):
        costs.observe("a", 2, 2.0)
    assert costs.seconds("b", 2) == pytest.approx(6.0, rel=0.01)


def test_one_call_that_was_disturbed_hardly_counts() -> None:
    costs = StepCosts(TABLE)
    costs.observe("a", 2, 100.0)
    assert costs.seconds("a", 2) < 1.1


def test_what_passes_between_two_calls_is_the_same_whatever_they_cost_and_shared_in_company() -> None:
    costs, keys = StepCosts(TABLE), path(*"aa")
    for _ in range(200):
        costs.observe("a", 2, 1.0, gap=0.2)
    assert costs.seconds("a", 2) == pytest.approx(1.2, rel=0.01)
    assert costs.seconds("a", 8) == pytest.approx(2.7, rel=0.01)
    assert costs.remaining(keys, 0) == pytest.approx(2.4, rel=0.01)
    assert costs.remaining(keys, 1, company=4) == pytest.approx(2.7 / 4, rel=0.01)
    assert costs.remaining(keys, 2) == 0


def test_answers_are_taken_to_come_as_long_after_their_last_step_as_those_of_late() -> None:
    costs = StepCosts(TABLE)
    assert costs.ending == 0
    costs.observe_ending(0.5)
    assert costs.ending == 0.5
    for _ in range(200):
        costs.observe_ending(0.1)
    assert costs.ending == pytest.approx(0.1, rel=0.01)
    costs.observe_ending(100.0)
    assert costs.ending < 0.2


def test_few_answers_come_later_than_is_counted_on() -> None:
    costs, random = StepCosts(TABLE), Random(0)
    late = 0
    for _ in range(2000):
        seconds = random.gauss(0.1, 0.01)
        late += seconds > costs.ending
        costs.observe_ending(seconds)
    assert late < 0.1 * 2000


def test_the_best_is_what_all_took_when_it_took_least() -> None:
    costs, keys = StepCosts(TABLE), path(*"aa")
    assert costs.at_best(keys, 0) == pytest.approx(2.0)
    for slower in (1.0, 3.0):
        for _ in range(200):
            costs.observe("a", 2, slower * 0.5, gap=slower * 0.1)
            costs.observe_ending(slower * 0.2)
    assert costs.remaining(keys, 0) == pytest.approx(3.6, rel=0.01)
    assert costs.at_best(keys, 0) == pytest.approx(2 * 0.5 + 2 * 0.1 + 0.2, rel=0.01)
    assert costs.at_best(keys, 1, images=4, company=4) == pytest.approx(2.5 * 0.5 + 0.1 + 0.2, rel=0.01)


def test_before_anything_is_known_the_best_takes_no_time() -> None:
    costs = StepCosts({})
    assert costs.at_best(path("a"), 0) == 0
    costs.observe("a", 2, 0.5)
    assert costs.at_best(path("a"), 0) == 0.5


def test_where_nothing_is_known_a_call_takes_as_long_as_the_last_ones_whatever_its_rows() -> None:
    costs = StepCosts({})
    costs.observe("a", 2, 0.5)
    assert costs.seconds("b", 64) == costs.seconds("a", 2) == pytest.approx(0.5)
