"""What a page of metrics says, as Prometheus would add it up."""

from collections import Counter as Count
from math import isclose

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from diffes.bundle import Bundle
from diffes.engine.observer import StageOf, StepReport
from diffes.serving.metrics import Metrics
from loadtest.scrape import Scrape
from tests.engine.conftest import bundle

__all__ = ["bundle"]

BOUNDS = (0.1, 1.0)
labels = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
seen = st.lists(st.tuples(labels, st.sampled_from(["0", "1"]), st.floats(0, 10)))


def scraped(registry: CollectorRegistry) -> Scrape:
    return Scrape.parse(generate_latest(registry).decode())


@given(seen)
def test_a_total_is_of_all_series_that_have_the_labels(told: list[tuple[str, str, float]]) -> None:
    registry = CollectorRegistry()
    counter = Counter("asked_total", "-", ["who", "stage"], registry=registry)
    for who, stage, value in told:
        counter.labels(who, stage).inc(value)
    found = scraped(registry)
    assert isclose(found.total("asked_total"), sum(value for *_, value in told), abs_tol=1e-9)
    for who, stage, _ in told:
        mine = [value for *of, value in told if of == [who, stage]]
        all_of_stage = [value for _, other, value in told if other == stage]
        assert isclose(found.total("asked_total", who=who, stage=stage), sum(mine), abs_tol=1e-9)
        assert isclose(found.total("asked_total", stage=stage), sum(all_of_stage), abs_tol=1e-9)


@given(seen)
def test_a_histogram_s_parts_are_series_of_their_own(told: list[tuple[str, str, float]]) -> None:
    registry = CollectorRegistry()
    histogram = Histogram("took", "-", ["who", "stage"], buckets=BOUNDS, registry=registry)
    for who, stage, value in told:
        histogram.labels(who, stage).observe(value)
    found = scraped(registry)
    assert found.by("took_count", "who") == {(who,): n for who, n in Count(who for who, *_ in told).items()}
    assert isclose(found.total("took_sum"), sum(value for *_, value in told), abs_tol=1e-9)
    for bound in BOUNDS:
        assert found.total("took_bucket", le=str(bound)) == sum(value <= bound for *_, value in told)
    assert found.total("took_bucket", le="+Inf") == len(told)


def two_stages() -> tuple[Counter, CollectorRegistry]:
    registry = CollectorRegistry()
    counter = Counter("steps_total", "-", ["schedule", "stage", "backend"], registry=registry)
    for schedule, stage, backend, count in (("a", "0", "x", 1), ("a", "0", "y", 2), ("b", "1", "x", 4)):
        counter.labels(schedule, stage, backend).inc(count)
    return counter, registry


def test_sums_by_some_labels_are_over_all_others() -> None:
    found = scraped(two_stages()[1])
    assert found.by("steps_total", "stage", "schedule") == {("0", "a"): 3.0, ("1", "b"): 4.0}
    assert found.by("steps_total", "backend") == {("x",): 5.0, ("y",): 2.0}
    assert found.by("steps_total") == {(): 7.0}


def test_a_label_that_a_series_has_not_is_empty() -> None:
    assert scraped(two_stages()[1]).by("steps_total", "colour") == {("",): 7.0}


def test_what_is_not_there_is_nothing() -> None:
    found = scraped(two_stages()[1])
    assert found.total("steps") == found.total("steps_tota") == found.total("other_total") == 0
    assert found.total("steps_total", stage="2") == found.total("steps_total", colour="red") == 0
    assert found.by("other_total", "stage") == {}
    assert Scrape.parse("").values == {}


def test_what_a_run_added_is_the_difference() -> None:
    counter, registry = two_stages()
    gauge = Gauge("waiting", "-", registry=registry)
    gauge.set(5)
    before = scraped(registry)
    counter.labels("a", "0", "x").inc(10)
    counter.labels("c", "0", "x").inc(20)
    gauge.set(2)
    added = scraped(registry).since(before)
    assert added.by("steps_total", "schedule") == {("a",): 10.0, ("b",): 0.0, ("c",): 20.0}
    assert added.total("waiting") == -3


def test_what_a_service_of_ours_exposes_is_read(bundle: Bundle) -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    metrics.prepare(bundle, "memory")
    stages = (StageOf("mixed", 1), StageOf("half", 0))
    metrics.stepped(StepReport("step0", stages, images=3, rows=6, seconds=0.5, shares=(1, 2)))
    found = scraped(registry)
    calls = found.by("diffes_step_seconds_count", "schedule", "stage")
    assert {stage for stage, count in calls.items() if count} == {("mixed", "1"), ("half", "0")}
    assert found.total("diffes_step_seconds_sum", schedule="half") == 0.5
    assert found.total("diffes_step_images_sum", backend="memory") == 0
    assert found.total("diffes_step_images_sum") == 6
    assert found.total("diffes_build_info", bundle="0123456789abcdef") == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [("<html>\n<p>Not found</p>", "<html>"), ('{"error": "not found"}', "error"), ("a b c", "float"), ("a{b} 1", "b")],
)
def test_what_is_no_page_of_metrics_is_an_error(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Scrape.parse(text)
