import pytest

from search.clock import Clock, OutOfTime


class Time:
    """A clock face that tests turn."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr("time.monotonic", lambda: self.now)


def test_a_phase_adds_up_over_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time(monkeypatch)
    clock = Clock(None, {"table": 5.0})
    with clock.phase("table"):
        time.now += 2
    assert clock.phases == {"table": 7.0}
    assert clock.elapsed == 7.0


def test_what_does_not_fit_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time(monkeypatch)
    clock = Clock(10, {"calibrate": 4.0})
    clock.require(6)
    time.now += 1
    with pytest.raises(OutOfTime):
        clock.require(6)


def test_without_a_limit_everything_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time(monkeypatch)
    clock = Clock(None, {})
    time.now += 1e9
    clock.require(1e9)
    assert clock.share(0, 0) == 0


def test_the_share_of_the_time_runs_from_its_start_to_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time(monkeypatch)
    clock = Clock(100, {})
    time.now += 50
    assert clock.share(since=20, kept=20) == pytest.approx(0.5)
    time.now += 500
    assert clock.share(since=20, kept=20) == 1
