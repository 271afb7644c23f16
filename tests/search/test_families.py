"""Searches of families beside DiT: nothing in them knows what is searched."""

from pathlib import Path

import pytest

from diffes.schedule import Schedule
from tests.families import FAMILIES, Model
from tests.search.conftest import small_options
from tests.search.searching import log_of, search


@pytest.mark.parametrize("family", FAMILIES)
def test_a_search_keeps_its_budget_and_is_no_worse_than_uniform(family: str, tmp_path: Path) -> None:
    model = Model(family, tmp_path)

    search(model.checkpoint, small_options(macs=0.1, genes="block"), tmp_path / "found")

    log, schedule = log_of(tmp_path / "found"), Schedule.load(tmp_path / "found" / "schedule.json")
    chosen = next(finalist for finalist in log["finalists"] if finalist["genome"] == log["chosen"])
    assert schedule.cost.macs_removed >= 0.1
    assert 0 < chosen["held_out"] <= log["uniform"]["held_out"]
