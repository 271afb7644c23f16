import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffes.engine.admission import Ahead, Forecast, OfferedLoad
from diffes.engine.costs import StepCosts
from tests.engine.scenarios import constant, path, proportional


def test_a_steady_load_is_told_after_some_windows() -> None:
    load = OfferedLoad(window=10.0)
    for tick in range(1000):
        load.add(0.05, tick * 0.1)
    assert load.share(100.0) == pytest.approx(0.5, rel=0.02)


def test_a_load_is_told_from_its_first_seconds_on() -> None:
    load = OfferedLoad(window=30.0)
    for tick in range(100):
        load.add(0.1, tick * 0.05)
    assert load.share(5.0) == pytest.approx(2.0, rel=0.05)


def test_one_request_is_no_load() -> None:
    load = OfferedLoad(window=30.0)
    load.add(0.5, 7.0)
    assert load.share(7.0) < 0.2


def test_a_load_fades_when_nothing_comes() -> None:
    load = OfferedLoad(window=10.0)
    load.add(100.0, 0.0)
    assert load.share(10.0) < load.share(5.0) < load.share(0.0) == pytest.approx(100.0, rel=0.06)
    assert load.share(1000.0) < 1e-6


def test_nothing_has_come_before_the_first() -> None:
    assert OfferedLoad().share(5.0) == 0.0


FOUR = path(*"aabb")


def test_where_company_saves_nothing_a_request_waits_for_what_those_ahead_have_left() -> None:
    forecast = Forecast(proportional(a=1, b=1), most=4)
    ahead = [(FOUR, 3), (FOUR, 0)]
    assert forecast.latency(FOUR, 1, ahead, load=0.9) == pytest.approx(1 + 4 + 4)
    assert forecast.latency(FOUR, 2, [], load=0.9) == pytest.approx(8)


def test_where_company_is_free_others_take_part_but_take_no_turns() -> None:
    forecast = Forecast(constant(a=1, b=1), most=8)
    ahead = [(FOUR, 2)] * 7
    assert forecast.latency(FOUR, 1, [], load=0.0) == pytest.approx(4)
    assert 4 < forecast.latency(FOUR, 1, ahead, load=0.0) < 4 + 7 * 2


def test_who_is_nearly_done_is_as_much_in_the_way_where_others_will_take_its_place() -> None:
    forecast = Forecast(constant(a=1, b=1), most=8)
    begun, nearly = ([(FOUR, step)] * 7 for step in (0, 3))
    assert forecast.latency(FOUR, 1, nearly, load=2.0) == pytest.approx(forecast.latency(FOUR, 1, begun, 2.0), rel=0.15)


def test_before_costs_are_known_nothing_takes_time() -> None:
    assert Forecast(StepCosts({}), most=4).latency(FOUR, 1, [(FOUR, 0)], load=1.0) == 0


def test_where_too_many_were_late_the_wait_for_others_is_taken_to_be_longer_until_few_are() -> None:
    forecast, ahead = Forecast(proportional(a=1, b=1), most=4), [(FOUR, 0)]
    for _ in range(10):
        forecast.learn(in_time=False)
    cautious = forecast.latency(FOUR, 1, ahead, load=0.9)
    assert 4 + 1.5 * 4 < cautious < 4 + 2 * 4
    assert forecast.latency(FOUR, 1, [], load=0.9) == pytest.approx(4)  # nobody to wait for
    for _ in range(20):
        for number in range(20):
            forecast.learn(in_time=number > 0)
    assert forecast.latency(FOUR, 1, ahead, load=0.9) == pytest.approx(cautious, rel=0.05)  # one in twenty
    for _ in range(500):
        forecast.learn(in_time=True)
    assert forecast.latency(FOUR, 1, ahead, load=0.9) == pytest.approx(4 + 4)


def test_caution_has_an_end() -> None:
    forecast = Forecast(proportional(a=1, b=1), most=4)
    for _ in range(1000):
        forecast.learn(in_time=False)
    assert forecast.latency(FOUR, 1, [(FOUR, 0)], load=0.9) == pytest.approx(4 + 4 * 4)


@given(
    steps=st.lists(st.integers(0, 3), max_size=12),
    images=st.integers(1, 4),
    load=st.floats(0, 3),
    costs=st.sampled_from([constant(a=1, b=2), proportional(a=1, b=2), StepCosts({"a": {2: 1.0, 8: 1.5}})]),
)
def test_a_forecast_is_never_less_than_what_a_request_takes_by_itself(
    steps: list[int], images: int, load: float, costs: StepCosts
) -> None:
    forecast, ahead = Forecast(costs, most=4), [(FOUR, step) for step in steps]
    nobody: Ahead = []
    by_itself = forecast.latency(FOUR, images, nobody, load)
    assert by_itself == pytest.approx(images * costs.remaining(FOUR, 0, images))
    assert forecast.latency(FOUR, images, ahead, load) >= by_itself * 0.999
