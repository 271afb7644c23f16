"""Rows say the same when they are read again, and a percentile is one of the values."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from loadtest.rows import FATES, Fate, Row, StageRow, load_rows, of_fate, percentile, save_csv

ANSWERED = Row(
    number=3,
    due=1.0,
    sent=1.25,
    ended=3.5,
    fate="answered",
    label=2,
    seed=5,
    images=2,
    steps=4,
    schedule="fast",
    stream=True,
    status=200,
    first=2.0,
    request_id="abc",
    served_by="fast",
    shed_from="dense",
    queue_seconds=0.125,
    total_seconds=2.0,
    stages=(
        StageRow(stage=0, steps=1, seconds=0.5, mean_batch=1.5),
        StageRow(stage=1, steps=3, seconds=1.0, mean_batch=2.0),
    ),
    digests=("aa", "bb"),
)
REFUSED = Row(
    number=4,
    due=2.0,
    sent=2.0,
    ended=2.5,
    fate="refused",
    label=0,
    seed=0,
    reason='429 "full",\nsaid a server\u2028\x85',
    status=429,
    retry_after=7.0,
)

times = st.floats(0, 1e6)
stages = st.builds(StageRow, stage=st.integers(0, 9), steps=st.integers(1, 99), seconds=times, mean_batch=times)
rows = st.builds(
    Row,
    number=st.integers(0, 10**9),
    due=times,
    sent=times,
    ended=times,
    fate=st.sampled_from(FATES),
    label=st.integers(0, 999),
    seed=st.integers(0, 2**32 - 1),
    images=st.integers(1, 16),
    steps=st.none() | st.integers(1, 1000),
    schedule=st.none() | st.text(max_size=20),
    stream=st.booleans(),
    reason=st.text(max_size=50),
    status=st.integers(0, 599),
    retry_after=st.none() | times,
    first=st.none() | times,
    request_id=st.text(max_size=20),
    stages=st.lists(stages, max_size=3).map(tuple),
    digests=st.lists(st.text("0123456789abcdef", min_size=32, max_size=32), max_size=3).map(tuple),
)


def test_a_row_tells_what_its_caller_waited_and_how_late_it_was_sent() -> None:
    assert (ANSWERED.seconds, ANSWERED.late) == (2.5, 0.25)


@given(rows)
def test_a_row_is_one_line_that_says_all_of_it(row: Row) -> None:
    assert Row.from_json(row.to_json()) == row
    assert len(row.to_json().splitlines()) == 1


def test_rows_are_read_in_the_order_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(row.to_json() + "\n" for row in (ANSWERED, REFUSED)))
    assert load_rows(path) == [ANSWERED, REFUSED]


@pytest.mark.parametrize("kept", [0, 1, 100, -1])
def test_a_line_that_is_not_whole_is_left_out(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(ANSWERED.to_json() + "\n" + REFUSED.to_json()[:kept])
    assert load_rows(path) == [ANSWERED]


@pytest.mark.parametrize("text", ["", ANSWERED.to_json()], ids=["nothing", "no line's end"])
def test_without_a_whole_line_there_are_no_rows(tmp_path: Path, text: str) -> None:
    (tmp_path / "rows.jsonl").write_text(text)
    assert load_rows(tmp_path / "rows.jsonl") == []


def test_a_missing_rows_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_rows(tmp_path / "rows.jsonl")


def test_a_table_has_all_rows_of_all_runs_by_the_run_s_name(tmp_path: Path) -> None:
    save_csv(tmp_path / "rows.csv", [("warm, 1", [ANSWERED, REFUSED]), ("cold", []), ("hot", [ANSWERED])])
    with (tmp_path / "rows.csv").open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert [cells["run"] for cells in found] == ["warm, 1", "warm, 1", "hot"]
    assert [read(cells) for cells in found] == [ANSWERED, REFUSED, ANSWERED]
    assert [float(cells["seconds"]) for cells in found] == [2.5, 0.5, 2.5]


def read(cells: dict[str, str]) -> Row:
    told = {name: text for name, text in cells.items() if text and name not in ("run", "seconds")}
    lists = {"stages": json.loads(cells["stages"]), "digests": cells["digests"].split()}
    return TypeAdapter(Row).validate_python(told | lists)


def test_fates_are_all_there_are() -> None:
    assert get_args(Fate) == FATES
    each = [replace(ANSWERED, fate=fate) for fate in FATES]
    assert [row.fate for row in of_fate(each, "left", "failed")] == ["failed", "left"]
    assert of_fate(each, *FATES) == each


@given(
    st.lists(st.floats(0, 1e6), min_size=1), st.sampled_from([0.5, 0.9, 0.95, 0.99, 0.999, 1.0]) | st.floats(0.01, 1)
)
def test_a_percentile_is_a_seen_value_with_the_right_share_below_it(values: list[float], quantile: float) -> None:
    found = percentile(values, quantile)
    assert found in values
    assert sum(value <= found for value in values) >= quantile * len(values)
    assert sum(value < found for value in values) < quantile * len(values)


def test_percentiles_of_a_hundred_values_are_the_ranks() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert [percentile(values, quantile) for quantile in (0.5, 0.95, 0.99)] == [50.0, 95.0, 99.0]
