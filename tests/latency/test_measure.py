"""A table from a stand whose every step takes as long as it is told to."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor

from diffes.devices import hardware_name
from diffes.latency.measure import Setup, measure_table
from diffes.latency.stand import Stand, Subject
from diffes.latency.timing import Run
from diffes.schedule import StagePlan

SETUP = Setup("torch", "cpu", 2, "float32", threads=1)


def seconds(plan: StagePlan) -> float:
    """30 us, 1 us a head and 10 ns a channel: exactly what a table can say."""
    return 30e-6 + sum(1e-6 * kept.heads + 1e-8 * kept.channels for kept in plan)


class Pretence:
    """A stand that returns a plan's seconds instead of its prediction, and the clock that reads them."""

    def __init__(self) -> None:
        self.plans: list[StagePlan] = []

    @contextmanager
    def open(self, plans: Sequence[StagePlan]) -> Iterator[Stand]:
        self.plans = list(plans)
        yield self

    def step(self, plan: StagePlan) -> Callable[[], Tensor]:
        return lambda: torch.tensor(seconds(plan), dtype=torch.float64)

    @staticmethod
    def clock(run: Run, _repeats: int) -> float:
        return float(run())  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def subject(tiny_model_folder: Path) -> Subject:
    return Subject.open(tiny_model_folder)


def test_the_table_says_what_the_machine_takes(subject: Subject) -> None:
    stand = Pretence()

    table = measure_table(subject, SETUP, stand.open, stand.clock, seconds=0.1, checks=5)

    assert len(stand.plans) == table.provenance.fitted + 5
    for plan in stand.plans:
        assert table.latency(plan) == pytest.approx(seconds(plan) * 1e9, abs=10)
    assert table.provenance.check_error < 1e-3
    assert table.provenance.spread == pytest.approx(0, abs=1e-9)


def test_a_table_says_what_it_was_measured_of_and_under(subject: Subject) -> None:
    stand = Pretence()

    table = measure_table(subject, SETUP, stand.open, stand.clock, seconds=0.1, checks=0)

    table.require_fit(subject.identity, device=hardware_name("cpu"), backend="torch", batch=2, dtype="float32")
    assert table.checks == ()
    assert table.provenance.threads == 1
    assert set(table.provenance.versions) >= {"diffes", "torch", "onnxruntime"}


def test_a_machine_that_is_not_additive_shows_in_the_checks(subject: Subject) -> None:
    stand = Pretence()

    def clock(run: Run, repeats: int) -> float:
        taken = stand.clock(run, repeats)
        return taken + (5e-6 if taken in uneven else 0)

    uneven = {seconds(plan) for plan in _checked_plans(subject)}
    table = measure_table(subject, SETUP, stand.open, clock, seconds=0.1, checks=5)

    assert table.provenance.check_error > 0.05
    assert max(abs(check.error) for check in table.checks) == table.provenance.check_error


def _checked_plans(subject: Subject) -> list[StagePlan]:
    stand = Pretence()
    fitted = measure_table(subject, SETUP, stand.open, stand.clock, seconds=0.1, checks=5).provenance.fitted
    timed = {seconds(plan) for plan in stand.plans[:fitted]}
    return [plan for plan in stand.plans[fitted:] if seconds(plan) not in timed]


def test_progress_ends_at_one(subject: Subject) -> None:
    stand, seen = Pretence(), list[float]()
    measure_table(
        subject, SETUP, stand.open, stand.clock, seconds=0.1, progress=lambda _phase, share: seen.append(share)
    )
    assert seen[-1] == 1


def test_a_device_has_a_name() -> None:
    assert hardware_name("cpu") == hardware_name("cpu") != ""
