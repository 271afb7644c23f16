"""Medians and paces on made-up times; real clocks are only asked whether they tick."""

from collections.abc import Callable

import numpy as np
import pytest

from diffes.latency.timing import Run, clock_for, measure, paced, wall_clock

COSTS = np.array([1.0, 2.0, 5.0, 3.0, 0.5])


def test_a_round_that_was_slow_altogether_changes_nothing() -> None:
    pace = np.array([1, 1, 4, 1, 1, 2, 1])[:, None]

    found = paced(COSTS * pace)

    assert found.seconds == pytest.approx(COSTS)
    assert found.spread == pytest.approx(0, abs=1e-12)
    assert found.rounds == 7


def test_a_call_that_was_interrupted_in_a_few_rounds_keeps_its_time() -> None:
    times = np.tile(COSTS, (9, 1))
    times[2, 1] *= 50
    times[7, 4] *= 8

    assert paced(times).seconds == pytest.approx(COSTS)


def test_a_machine_that_slows_down_while_it_measures_keeps_the_ratios() -> None:
    drift = np.linspace(1, 3, 21)[:, None]

    found = paced(COSTS * drift).seconds

    assert found / found[0] == pytest.approx(COSTS)
    assert found[0] == pytest.approx(2)  # the usual pace is the middle one


def test_the_spread_is_the_middle_half_of_the_rounds() -> None:
    times = np.ones((4, 9))
    times[:, 0] = [1.0, 2.0, 3.0, 4.0]

    spread = paced(times).spread

    assert spread[0] == pytest.approx((3.25 - 1.75) / 2.5)
    assert spread[1:] == pytest.approx(0)


class Machine:
    """A clock that knows what each call costs and notes the order they were timed in."""

    def __init__(self, costs: list[float]) -> None:
        self.calls: list[Run] = [self._call(index) for index in range(len(costs))]
        self.costs = costs
        self.order: list[int] = []
        self.repeats: list[int] = []

    def _call(self, index: int) -> Callable[[], int]:
        return lambda: index

    def clock(self, run: Run, repeats: int) -> float:
        index = run()
        assert isinstance(index, int)
        self.order.append(index)
        self.repeats.append(repeats)
        return self.costs[index]


def test_every_call_is_timed_in_every_round_in_changing_order() -> None:
    machine = Machine([0.01, 0.02, 0.03, 0.04])

    found = measure(machine.calls, machine.clock, seconds=1)

    rounds = np.array(machine.order[8:]).reshape(found.rounds, 4)
    assert all(sorted(row) == [0, 1, 2, 3] for row in rounds.tolist())
    assert len({tuple(row) for row in rounds.tolist()}) > 1
    assert found.seconds == pytest.approx(machine.costs)


def test_there_are_as_many_rounds_as_fit_the_seconds_within_limits() -> None:
    def rounds(seconds: float) -> int:
        machine = Machine([0.1, 0.3])
        return measure(machine.calls, machine.clock, seconds=seconds).rounds

    assert rounds(8) == 20
    assert rounds(0.1) == 5
    assert rounds(1e6) == 200


def test_short_calls_are_repeated_within_one_reading() -> None:
    machine = Machine([1e-5, 0.01])

    measure(machine.calls, machine.clock, seconds=0.1)

    measured = list(zip(machine.order, machine.repeats, strict=True))[4:]
    assert {count for call, count in measured if call == 0} == {200}
    assert {count for call, count in measured if call == 1} == {1}


def test_progress_ends_at_one() -> None:
    machine, seen = Machine([0.01]), list[float]()
    measure(machine.calls, machine.clock, seconds=0.1, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1


def test_on_a_processor_every_call_begins_when_the_threads_of_the_one_before_have_gone_to_sleep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A library's threads spin for milliseconds after its last parallel work; they must not slow another's call."""
    events: list[str] = []
    monkeypatch.setattr("diffes.latency.timing.time.sleep", lambda seconds: events.append(f"rested {seconds > 0.01}"))
    measure([lambda: events.append("first"), lambda: events.append("other")], wall_clock, seconds=1e-6)
    timed = events[events.index("rested True") :]
    rests = [at for at, event in enumerate(timed) if event == "rested True"]
    assert len(rests) == 2 * 5
    assert all(len(set(timed[start + 1 : end])) == 1 for start, end in zip(rests, [*rests[1:], None], strict=True))


def test_a_processor_is_timed_by_the_machines_clock() -> None:
    assert clock_for("cpu") is wall_clock
    assert clock_for("cuda:1") is not wall_clock


def test_the_clock_calls_as_often_as_it_is_told_and_time_passes() -> None:
    calls: list[int] = []
    assert wall_clock(lambda: calls.append(1), 7) > 0
    assert len(calls) == 7
