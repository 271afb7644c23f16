"""When requests come: as often as is said, as randomly as is said, and the same again from the same seed."""

from collections.abc import Sequence
from itertools import islice
from math import inf, nan, sqrt
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from scipy.stats import kstest

from loadtest.arrivals import Arrivals, Burst, Closed, Constant, Open, Poisson, Ramp, Trace

SECONDS = 1000.0
BURST = Burst(rate=4, peak=40, every=10, lasting=2)
RAMP = Ramp(rate=5, to=45)
TRACE = Trace(at=(3.0, 3.5, 3.5, 6.0))
OPEN = [Constant(rate=20), Poisson(rate=20), BURST, RAMP, Ramp(rate=45, to=5), TRACE]
RANDOM = [Poisson(rate=20), BURST, RAMP]
ADAPTER: TypeAdapter[Any] = TypeAdapter(Arrivals)

every_kind = pytest.mark.parametrize("arrivals", OPEN, ids=lambda kind: kind.kind)
rates = st.floats(0.01, 100)


@st.composite
def kinds(draw: st.DrawFn) -> Open:
    rate, more = draw(rates), draw(st.floats(1.1, 10))
    at = sorted(draw(st.lists(st.integers(0, 1000), min_size=2, max_size=20, unique=True)))
    return draw(
        st.sampled_from(
            [
                Constant(rate=rate),
                Poisson(rate=rate),
                Burst(rate=rate, peak=rate * more, every=more, lasting=1),
                Ramp(rate=rate, to=rate * more),
                Ramp(rate=rate * more, to=rate),
                Trace(at=tuple(map(float, at))),
            ]
        )
    )


def times(arrivals: Open, seconds: float = SECONDS, seed: int = 0) -> list[float]:
    return list(arrivals.times(seconds, Random(seed)))


def within(seconds: Sequence[float], low: float, high: float) -> int:
    return sum(low <= at < high for at in seconds)


def is_near(count: int, expected: float) -> bool:
    """Within five standard deviations of a Poisson count: one in two million is not."""
    return abs(count - expected) <= 5 * sqrt(expected)


@given(kinds(), st.floats(0.1, 20), st.integers(0, 1000))
def test_times_rise_from_the_start_and_end_before_the_end(arrivals: Open, seconds: float, seed: int) -> None:
    found = list(islice(arrivals.times(seconds, Random(seed)), 1000))
    assert found == sorted(found)
    assert all(0 <= at < seconds for at in found)


@every_kind
def test_the_same_seed_gives_the_same_times(arrivals: Open) -> None:
    assert times(arrivals) == times(arrivals)


@pytest.mark.parametrize("arrivals", RANDOM, ids=lambda kind: kind.kind)
def test_another_seed_gives_others(arrivals: Open) -> None:
    assert times(arrivals, seed=1) != times(arrivals, seed=2)


@every_kind
def test_as_many_come_as_the_mean_says(arrivals: Open) -> None:
    assert is_near(len(times(arrivals)), arrivals.mean * SECONDS)


def test_constant_ones_are_equally_far_apart_from_the_start() -> None:
    assert times(Constant(rate=4), 1.25) == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_distances_of_poisson_arrivals_are_exponential() -> None:
    found = times(Poisson(rate=20))
    gaps = [later - earlier for earlier, later in zip([0.0, *found], found, strict=False)]
    assert len(gaps) > 19_000
    assert kstest(gaps, "expon", args=(0, 1 / 20)).pvalue > 0.01


def test_poisson_arrivals_lie_anywhere_with_equal_chance() -> None:
    assert kstest(times(Poisson(rate=20)), "uniform", args=(0, SECONDS)).pvalue > 0.01


@pytest.mark.parametrize("seed", range(5))
def test_counted_poisson_arrivals_are_as_many_as_the_rate_says_and_lie_anywhere(seed: int) -> None:
    counted = Poisson(rate=20, counted=True)
    found = times(counted, seed=seed)
    assert len(found) == 20 * SECONDS
    assert found == sorted(found) == times(counted, seed=seed)
    assert 0 <= found[0] < found[-1] < SECONDS
    assert kstest(found, "uniform", args=(0, SECONDS)).pvalue > 0.01
    assert counted.paced(40).mean == 40


def test_bursts_come_at_the_end_of_every_period_at_their_rate() -> None:
    found = [at % BURST.every for at in times(BURST)]
    assert is_near(within(found, 0, 8), 4 * 8 * SECONDS / 10)
    assert is_near(within(found, 8, 10), 40 * 2 * SECONDS / 10)


def test_within_a_burst_arrivals_lie_anywhere_with_equal_chance() -> None:
    found = [at % BURST.every for at in times(BURST)]
    assert kstest([at for at in found if at >= 8], "uniform", args=(8, 2)).pvalue > 0.01
    assert kstest([at for at in found if at < 8], "uniform", args=(0, 8)).pvalue > 0.01


@pytest.mark.parametrize("ramp", [RAMP, Ramp(rate=45, to=5)], ids=["up", "down"])
def test_a_ramp_s_rate_changes_in_a_straight_line(ramp: Ramp) -> None:
    found, part = times(ramp), SECONDS / 10
    for index in range(10):
        rate = ramp.rate + (ramp.to - ramp.rate) * (index + 0.5) / 10
        assert is_near(within(found, index * part, (index + 1) * part), rate * part)


def test_a_ramp_fills_whatever_time_there_is() -> None:
    short, long = times(RAMP, 100), times(RAMP, 1000)
    assert is_near(within(short, 50, 100), 35 * 50)
    assert is_near(within(long, 50, 100), 8 * 50)


def test_a_trace_is_replayed_from_its_first_time_and_again() -> None:
    assert TRACE.mean == 1.0
    assert times(TRACE, 9.0) == [0.0, 0.5, 0.5, 3.0, 4.0, 4.5, 4.5, 7.0, 8.0, 8.5, 8.5]


@given(kinds(), st.floats(0.01, 100), st.integers(0, 1000))
def test_in_another_unit_the_same_come_at_the_same_moments(arrivals: Open, unit: float, seed: int) -> None:
    scaled = arrivals.scaled(unit)
    before = list(islice(arrivals.times(10.0, Random(seed)), 100))
    after = list(islice(scaled.times(10.0 * unit, Random(seed)), 100))
    assert scaled.mean == pytest.approx(arrivals.mean / unit)
    count = min(len(before), len(after))  # one that lies on the end may be either side of it
    assert abs(len(before) - len(after)) <= 1
    assert after[:count] == pytest.approx([at * unit for at in before[:count]])


@given(kinds(), rates)
def test_paced_arrivals_meet_the_mean_and_are_otherwise_the_same(arrivals: Open, mean: float) -> None:
    paced = arrivals.paced(mean)
    assert paced.mean == pytest.approx(mean)
    assert paced.paced(arrivals.mean).mean == pytest.approx(arrivals.mean)
    assert paced.kind == arrivals.kind  # type: ignore[attr-defined]


def test_paced_bursts_keep_their_shape() -> None:
    paced = BURST.paced(2 * BURST.mean)
    assert paced.peak / paced.rate == pytest.approx(BURST.peak / BURST.rate)
    assert paced.lasting / paced.every == pytest.approx(BURST.lasting / BURST.every)


def test_a_closed_loop_s_pause_is_in_units() -> None:
    assert Closed(users=3, pause=2).scaled(0.5) == Closed(users=3, pause=1)


@pytest.mark.parametrize("arrivals", [*OPEN, Closed(users=2, pause=0.5)], ids=lambda kind: kind.kind)
def test_arrivals_are_known_by_their_kind_in_a_file(arrivals: Open | Closed) -> None:
    assert ADAPTER.validate_json(ADAPTER.dump_json(arrivals)) == arrivals


@pytest.mark.parametrize(
    "told",
    [
        {"kind": "weekly", "rate": 1},
        {"rate": 1},
        {"kind": "constant"},
        {"kind": "constant", "rate": 0},
        {"kind": "poisson", "rate": -1},
        {"kind": "poisson", "rate": inf},
        {"kind": "poisson", "rate": nan},
        {"kind": "poisson", "rate": 1, "peak": 2},
        {"kind": "burst", "rate": 1, "peak": 2, "every": 1, "lasting": 1},
        {"kind": "burst", "rate": 1, "peak": 1, "every": 2, "lasting": 1},
        {"kind": "burst", "rate": 1, "peak": 2, "every": 2, "lasting": 0},
        {"kind": "ramp", "rate": 1, "to": 0},
        {"kind": "trace", "at": [1]},
        {"kind": "trace", "at": [1, 1]},
        {"kind": "trace", "at": [2, 1, 3]},
        {"kind": "trace", "at": [-1, 1]},
        {"kind": "trace", "at": [0, inf]},
        {"kind": "closed", "users": 0},
        {"kind": "closed", "users": 1, "pause": -1},
    ],
    ids=lambda told: " ".join(f"{name}={value}" for name, value in told.items()),
)
def test_what_makes_no_arrivals_is_refused(told: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ADAPTER.validate_python(told)
