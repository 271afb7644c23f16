import pytest

from diffes.engine.admission import OfferedLoad


def test_a_steady_load_is_told_after_some_windows() -> None:
    load = OfferedLoad(window=10.0)
    for tick in range(1000):
        load.add(0.05, tick * 0.1)
    assert load.share(100.0) == pytest.approx(0.5, rel=0.02)


def test_a_load_fades_when_nothing_comes() -> None:
    load = OfferedLoad(window=10.0)
    load.add(100.0, 0.0)
    assert load.share(10.0) < load.share(5.0) < load.share(0.0) == 10.0
    assert load.share(1000.0) < 1e-6


def test_nothing_has_come_before_the_first() -> None:
    assert OfferedLoad().share(5.0) == 0.0
