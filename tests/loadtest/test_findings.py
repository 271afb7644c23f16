"""A run in numbers: each is what anyone would count in its rows and its service's figures."""

from collections.abc import Sequence
from dataclasses import replace
from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from diffes.bundle import Bundle
from diffes.engine.observer import StageOf, StepReport
from diffes.serving.metrics import Metrics
from loadtest.arrivals import Closed
from loadtest.findings import Findings, Times, find, outside
from loadtest.rows import FATES, Fate, Row
from loadtest.scenario import Slo
from loadtest.scrape import Scrape
from loadtest.watch import Sample
from tests.engine.conftest import bundle
from tests.loadtest.trials import PLAN, row, trial

__all__ = ["bundle"]

SLO = Slo(within=1)
fates: st.SearchStrategy[list[Fate]] = st.lists(st.sampled_from(FATES), max_size=10)
HOUR = 3600.0


def found(rows: Sequence[Row], slo: Slo = SLO, started: float | None = None) -> Findings:
    return find(trial(rows), slo, started)


@given(fates, st.lists(st.sampled_from([0.5, 1.0, 1.0625, 5.0]), min_size=10, max_size=10))
def test_requests_are_counted_and_shares_leave_out_who_left(told: list[Fate], seconds: list[float]) -> None:
    rows = [row(number, fate, ended=number + seconds[number]) for number, fate in enumerate(told)]
    result = found(rows)
    assert result.requests == 10
    assert result.fates == {fate: told.count(fate) for fate in FATES} | {"unknown": 10 - len(told)}
    good = sum(fate == "answered" and waited <= 1 for fate, waited in zip(told, seconds, strict=False))
    stayed = 10 - told.count("left")
    assert result.in_time == (good / stayed if stayed else 1.0)
    assert result.goodput == good / result.seconds
    assert result.answered == told.count("answered") / result.seconds


def test_a_run_lasts_until_its_last_request_has_ended_or_should_have_come() -> None:
    assert found([row(0)]).seconds == 10
    late = found([row(0), row(9, ended=25), row(8, "left", ended=40)])
    assert (late.seconds, late.offered) == (40, 1.0)
    assert late.answered == 2 / 40


def test_images_count_each() -> None:
    assert found([row(0, images=3), row(1), row(2, "failed", images=16)]).images == 4 / 10


def test_of_a_closed_loop_what_was_sent_was_planned() -> None:
    closed = PLAN.model_copy(update={"arrivals": Closed(users=2)})
    result = find(trial([row(0), row(1, "left"), row(2)], plan=closed), SLO)
    assert (result.requests, result.fates["unknown"], result.offered, result.in_time) == (3, 0, 0.3, 1.0)


def test_reasons_are_those_of_who_was_refused_or_failed() -> None:
    rows = [row(0), row(1, "left", reason="-"), row(2, "refused", reason="full")]
    rows += [row(number, "failed", reason="no memory") for number in (3, 4)]
    assert list(found(rows).reasons.items()) == [("no memory", 2), ("full", 1)]


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_quantiles_are_seen_values_by_nearest_rank(values: list[float]) -> None:
    times, ranked = Times.of(values), sorted(values)
    assert times is not None
    for told, quantile in ((times.p50, 50), (times.p95, 95), (times.p99, 99)):
        assert told == ranked[ceil(quantile * len(values) / 100) - 1]
    assert times.most == ranked[-1]
    assert times == Times.of(values[::-1])


def test_of_a_hundred_values_quantiles_are_the_ranks() -> None:
    assert Times.of(list(range(100, 0, -1))) == Times(p50=50, p95=95, p99=99, most=100)
    assert Times.of([7.0]) == Times(p50=7, p95=7, p99=7, most=7)
    assert Times.of([]) is None


def test_times_are_of_the_answered_and_lateness_of_all() -> None:
    rows = [
        row(0),
        row(1, stream=True, first=1.25),
        row(2, "failed", ended=9, sent=4, first=8.0),
        row(3, "left", ended=9),
    ]
    result = found(rows)
    assert result.latency == Times(p50=0.625, p95=0.625, p99=0.625, most=0.625)
    assert result.first == Times(p50=0.25, p95=0.25, p99=0.25, most=0.25)
    assert result.queue == Times(p50=0.0625, p95=0.0625, p99=0.0625, most=0.0625)
    assert result.outside == Times(p50=0.0625, p95=0.0625, p99=0.0625, most=0.0625)
    assert result.late == Times(p50=0.0625, p95=2, p99=2, most=2)


def test_where_nobody_is_answered_there_are_no_times() -> None:
    result = found([row(0, "failed"), row(1, "left")])
    assert result.latency is result.first is result.queue is result.outside is None
    assert (result.in_time, result.goodput, result.images) == (0, 0, 0)
    assert found([row(number, "left") for number in range(10)]).in_time == 1
    empty = found([])
    assert (empty.late, empty.fates["unknown"]) == (None, 10)


def test_what_a_request_took_outside_is_what_the_service_does_not_tell_of() -> None:
    assert outside(row(0, sent=1, ended=3, total_seconds=1.5)) == 0.5


def test_the_first_answer_counts_from_the_service_s_start() -> None:
    rows = [row(0, "failed", ended=0.5), row(1, ended=4), row(2, ended=3)]
    assert found(rows, started=995.0).first_answer == 8.0
    assert found(rows).first_answer is None
    assert found([row(0, "failed")], started=995.0).first_answer is None


def scraped(bundle: Bundle, steps: Sequence[StepReport]) -> Scrape:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    metrics.prepare(bundle, "memory")
    for step in steps:
        metrics.stepped(step)
    return Scrape.parse(generate_latest(registry).decode())


def step(images: int, seconds: float, *stages: tuple[str, int]) -> StepReport:
    of = tuple(StageOf(*stage) for stage in stages)
    return StepReport("step0", of, images=images, rows=2 * images, seconds=seconds, shares=(1,) * len(of))


def test_stages_are_what_the_run_added_to_the_counters(bundle: Bundle) -> None:
    before = [step(8, 5.0, ("mixed", 0)), step(8, 5.0, ("mixed", 2))]
    run = [step(1, 0.25, ("mixed", 1), ("half", 0)), step(4, 0.5, ("mixed", 1)), step(2, 1.0, ("mixed", 0))]
    told = trial([row(0)], before=scraped(bundle, before), after=scraped(bundle, before + run))
    result = find(told, SLO)
    assert [(each.schedule, each.stage, each.calls, each.seconds, each.images) for each in result.stages] == [
        ("half", 0, 1, 0.25, 1),
        ("mixed", 0, 1, 1.0, 2),
        ("mixed", 1, 2, 0.75, 5),
    ]
    assert [each.batch for each in result.stages] == [1, 2, 2.5]
    assert result.batch == 2


@pytest.mark.parametrize("missing", ["before", "after"])
def test_without_counters_no_stages_are_told(missing: str) -> None:
    result = find(trial([row(0)], **{missing: None}), SLO)
    assert (result.stages, result.batch) == ([], None)


def looks(seconds: float, hourly: float, first: float = 1e9, count: int = 100) -> list[Sample]:
    """Memory that grows in a straight line once the first sixth is over, and by leaps before."""
    found = []
    for index, at in enumerate(np.linspace(0, seconds, count)):
        start = 1e8 * (index + 1) if index < count // 6 else first
        found.append(Sample(1000 + float(at), resident=int(start + hourly * at / HOUR)))
    return found


@given(st.floats(240, 1e5), st.floats(-1e9, 1e9))
def test_memory_s_slope_is_that_of_the_line_once_it_has_settled(seconds: float, hourly: float) -> None:
    memory = find(trial([], samples=looks(seconds, hourly, first=1e12)), SLO).memory
    assert memory is not None
    assert memory.hourly == pytest.approx(hourly, rel=1e-3, abs=HOUR / 100)


def test_no_slope_is_told_of_a_short_run() -> None:
    for seconds, told in ((239.0, False), (240.0, True)):
        memory = find(trial([], samples=looks(seconds, 1e6)), SLO).memory
        assert memory is not None
        assert (memory.hourly is not None) == told


def test_memory_is_told_of_the_looks_that_saw_it() -> None:
    samples = [Sample(1000.0), Sample(1001.0, resident=5, device=7), Sample(1002.0, resident=9, device=0)]
    samples += [Sample(1003.0, resident=6), Sample(1004.0, resident=0)]
    memory = find(trial([], samples=samples), SLO).memory
    assert memory is not None
    assert (memory.first, memory.last, memory.most, memory.device) == (5, 6, 9, 7)
    assert find(trial([], samples=samples[:1]), SLO).memory is None
    other = find(trial([], samples=[replace(each, device=None) for each in samples]), SLO).memory
    assert other is not None
    assert other.device is None


def test_findings_survive_their_json(bundle: Bundle) -> None:
    rows = [row(0), row(1, "refused"), row(2, "left"), row(3, stream=True, first=3.25)]
    told = trial(rows, before=scraped(bundle, []), after=scraped(bundle, [step(2, 0.5, ("mixed", 3))]))
    result = find(replace(told, samples=looks(300, 1e6)), SLO, started=990.0)
    assert Findings.model_validate_json(result.model_dump_json()) == result
