"""The highest rate that holds is found between one that did and one that did not, and has held twice."""

from collections import Counter
from collections.abc import Callable, Sequence
from math import ceil, inf, log, log2, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from loadtest.saturation import Sustained, highest_rate
from loadtest.scenario import Search

searches = st.builds(
    Search,
    first=st.floats(1e-3, 1e3),
    factor=st.floats(1.02, 4),
    until=st.floats(1.005, 2),
    most=st.integers(2, 40),
)


def asked(search: Search, holds: Callable[[float], bool]) -> tuple[Sustained, list[tuple[float, bool]]]:
    """What was found, and every rate that was asked about, with the answer."""
    told: list[tuple[float, bool]] = []

    def ask(rate: float) -> bool:
        told.append((rate, holds(rate)))
        return told[-1][1]

    return highest_rate(search, ask), told


def enough(search: Search, threshold: float) -> int:
    """Runs in which the search gets there: in steps, by halves, and once more."""
    steps = ceil(abs(log(threshold / search.first)) / log(search.factor)) + 2
    halves = ceil(log2(max(1.0, log(search.factor) / log(search.until)))) + 1
    return steps + halves + 1


@given(searches, st.floats(1e-4, 1e4))
def test_what_bears_a_rate_and_no_higher_one_is_found_out(search: Search, threshold: float) -> None:
    whole = search.model_copy(update={"most": enough(search, threshold)})
    found, told = asked(whole, lambda rate: rate <= threshold)
    assert found.confirmed
    assert found.rate is not None
    assert found.limit is not None
    assert found.rate <= threshold < found.limit <= found.rate * search.until * (1 + 1e-12)
    assert told[-1] == (found.rate, True)
    assert (found.limit, False) in told


@given(searches, st.floats(1e-4, 1e4))
def test_a_search_that_is_cut_short_tells_what_has_held_so_far(search: Search, threshold: float) -> None:
    found, told = asked(search, lambda rate: rate <= threshold)
    assert len(told) <= search.most
    assert found.confirmed or len(told) == search.most
    assert found.rate == max((rate for rate, held in told if held), default=None)
    assert found.limit == min((rate for rate, held in told if not held), default=None)


@given(searches, st.lists(st.booleans(), min_size=40, max_size=40))
def test_whatever_is_answered_a_rate_that_never_held_is_not_told(search: Search, answers: list[bool]) -> None:
    coming = iter(answers)
    found, told = asked(search, lambda _: next(coming))
    times = Counter(rate for rate, _ in told)
    held, failed = ([rate for rate, each in told if each is answer] for answer in (True, False))
    assert len(told) <= search.most
    assert max(times.values()) <= 2
    assert found.limit == min(failed, default=None)
    assert found.rate is None or (found.rate in held and found.rate not in failed)
    assert found.rate is None or found.limit is None or found.rate < found.limit
    if found.confirmed:
        assert held.count(found.rate or 0) == 2
        assert told[-1] == (found.rate, True)
        assert (found.limit or 0) <= (found.rate or 0) * search.until * (1 + 1e-12)
    else:
        assert all(count == 1 for rate, count in times.items() if rate in held and rate not in failed)


@given(searches, st.lists(st.booleans(), min_size=40, max_size=40))
def test_after_a_rate_did_not_hold_none_as_high_is_asked_about(search: Search, answers: list[bool]) -> None:
    coming = iter(answers)
    _, told = asked(search, lambda _: next(coming))
    limit = inf
    for rate, held in told:
        assert rate < limit
        limit = limit if held else rate


SEARCH = Search(first=0.5, factor=1.6, until=1.08, most=20)


def rates(answers: Sequence[bool], most: int = 20) -> list[float]:
    coming = iter(answers)
    _, told = asked(SEARCH.model_copy(update={"most": most}), lambda _: next(coming))
    return [rate for rate, _ in told]


def test_it_goes_up_in_steps_and_then_by_halves() -> None:
    assert rates([True, True, False, True, True], most=5) == pytest.approx([0.5, 0.8, 1.28, 1.0119, 1.1381], rel=1e-4)


def test_what_does_not_hold_at_first_is_gone_below() -> None:
    found, told = asked(SEARCH, lambda rate: rate <= 0.2)
    assert [rate for rate, _ in told][:3] == pytest.approx([0.5, 0.5 / 1.6, 0.5 / 1.6**2])
    assert found.confirmed
    assert found.rate == pytest.approx(0.2, rel=0.08)


def test_a_rate_that_held_by_luck_is_the_limit_and_the_search_goes_on_below_it() -> None:
    answers = iter([True, False, False])
    search = SEARCH.model_copy(update={"first": 0.8, "factor": 1.05})
    found, told = asked(search, lambda rate: next(answers, rate <= 0.6))
    assert [rate for rate, _ in told][:3] == pytest.approx([0.8, 0.84, 0.8])
    assert found.confirmed
    assert found.rate is not None
    assert 0.6 / 1.08 <= found.rate <= 0.6


def test_what_bears_nothing_has_no_rate() -> None:
    found, told = asked(SEARCH, lambda _: False)
    assert (found.rate, found.confirmed, len(told)) == (None, False, 20)
    assert found.limit == pytest.approx(0.5 / 1.6**19)


def test_what_bears_everything_has_no_limit() -> None:
    found, told = asked(SEARCH, lambda _: True)
    assert (found.limit, found.confirmed, len(told)) == (None, False, 20)
    assert found.rate == pytest.approx(0.5 * 1.6**19)


@pytest.mark.parametrize("name", ["first", "factor", "until"])
@pytest.mark.parametrize("value", [inf, nan, 0])
def test_a_search_without_an_end_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValidationError, match=name):
        Search.model_validate({name: value})


def test_a_rate_that_is_near_enough_is_not_confirmed_by_having_held_once() -> None:
    answers = iter([True, False, True])
    found, _ = asked(Search(first=1, factor=1.6, until=1.3, most=3), lambda _: next(answers))
    assert found.rate == pytest.approx(1.6**0.5)
    assert (found.limit, found.confirmed) == (1.6, False)
