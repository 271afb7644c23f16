"""Figures of a load test: exact, per request and per stage, failures told apart."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.report import Row, StageRow, load_rows, percentile, report, save_rows

ROWS = [
    Row(0.0, 0.100, 200, "", 0.010, (StageRow(0, 4, 0.040, 2.0), StageRow(1, 6, 0.030, 1.0))),
    Row(0.1, 0.300, 200, "", 0.200, (StageRow(0, 4, 0.080, 4.0), StageRow(1, 6, 0.030, 1.0))),
    Row(0.2, 0.200, 429, "429 queue full"),
]


@given(st.lists(st.floats(0, 1e6), min_size=1), st.sampled_from([0.5, 0.95, 0.99, 1.0]))
def test_a_percentile_is_a_seen_value_with_the_right_share_below_it(values: list[float], quantile: float) -> None:
    found = percentile(values, quantile)
    assert found in values
    assert sum(value <= found for value in values) >= quantile * len(values)
    assert sum(value < found for value in values) < quantile * len(values)


def test_percentiles_of_a_hundred_values_are_the_ranks() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert [percentile(values, quantile) for quantile in (0.5, 0.95, 0.99)] == [50.0, 95.0, 99.0]


def test_a_report_names_requests_queue_and_every_stage() -> None:
    lines = report(ROWS).splitlines()
    assert lines[0] == "3 requests, 1 failed, 5.00 answered/s"
    assert lines[1].split() == ["ms", "p50", "p95", "p99"]
    assert lines[2].split() == ["request", "100.0", "300.0", "300.0"]
    assert lines[3].split() == ["queue", "10.0", "200.0", "200.0"]
    assert lines[4].split()[:5] == ["stage", "0", "40.0", "80.0", "80.0"]
    assert lines[4].endswith("15.0 ms a step, 3.0 images a batch")
    assert lines[6] == "failed 1 x: 429 queue full"


def test_nothing_answered_is_still_a_report() -> None:
    assert report([]) == "0 requests, 0 failed\n"


def test_rows_survive_their_file(tmp_path: Path) -> None:
    save_rows(tmp_path / "rows.jsonl", ROWS)
    assert load_rows(tmp_path / "rows.jsonl") == ROWS


def test_a_missing_rows_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_rows(tmp_path / "rows.jsonl")
