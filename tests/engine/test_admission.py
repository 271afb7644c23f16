import pytest

from diffes.engine.admission import OfferedLoad


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
