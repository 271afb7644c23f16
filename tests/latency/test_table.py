"""Latency tables: sums of halves, widths between, files, and whose they are."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffes.errors import LatencyError
from diffes.latency.table import BlockCost, HalfCost, LatencyTable, Provenance
from diffes.schedule import BlockPlan, ModelIdentity

MODEL = ModelIdentity(class_name="DiT", fingerprint="ab" * 32)
WIDE = BlockCost(
    blocks=(0, 2),
    attention=HalfCost(widths=(0, 2, 4), nanoseconds=(0, 100, 140)),
    mlp=HalfCost(widths=(0, 16, 32), nanoseconds=(0, 333, 1000)),
)
NARROW = BlockCost(
    blocks=(1,),
    attention=HalfCost(widths=(0, 1, 2), nanoseconds=(0, 7, 7)),
    mlp=HalfCost(widths=(0, 4, 8), nanoseconds=(0, 50, 90)),
)
PROVENANCE = Provenance(
    date="2026-01-01T00:00:00+00:00",
    versions={"torch": "2.9"},
    threads=1,
    rounds=9,
    fitted=20,
    spread=0.01,
    fit_error=0.02,
    check_error=0.03,
)
TABLE = LatencyTable(
    model=MODEL,
    backend="torch",
    device="Some GPU",
    batch=2,
    dtype="float32",
    rest=500,
    costs=(WIDE, NARROW),
    provenance=PROVENANCE,
)
DENSE = (BlockPlan(4, 32), BlockPlan(2, 8), BlockPlan(4, 32))


def changed(**fields: Any) -> dict[str, Any]:
    """The table's document with some fields replaced."""
    return {**TABLE.model_dump(mode="json", by_alias=True), **fields}


def plans() -> st.SearchStrategy[tuple[BlockPlan, ...]]:
    blocks = [st.builds(BlockPlan, st.integers(0, d.heads), st.integers(0, d.channels)) for d in DENSE]
    return st.tuples(*blocks)


def test_a_plan_costs_the_rest_and_what_every_half_costs() -> None:
    assert TABLE.latency(DENSE) == 500 + 2 * (140 + 1000) + 7 + 90
    assert TABLE.latency((BlockPlan(0, 0),) * 3) == 500
    assert TABLE.latency((BlockPlan(2, 16), BlockPlan(1, 0), BlockPlan(0, 32))) == 500 + 100 + 333 + 7 + 1000


@settings(deadline=None)
@given(plans(), plans())
def test_halves_add_up_whatever_the_others_are(a: tuple[BlockPlan, ...], b: tuple[BlockPlan, ...]) -> None:
    mixed = tuple(BlockPlan(x.heads, y.channels) for x, y in zip(a, b, strict=True))
    swapped = tuple(BlockPlan(y.heads, x.channels) for x, y in zip(a, b, strict=True))
    assert TABLE.latency(mixed) + TABLE.latency(swapped) == TABLE.latency(a) + TABLE.latency(b)


@settings(deadline=None)
@given(plans(), st.integers(0, 2), st.booleans())
def test_keeping_less_never_costs_more(plan: tuple[BlockPlan, ...], block: int, heads: bool) -> None:
    kept = plan[block]
    less = BlockPlan(max(kept.heads - heads, 0), max(kept.channels - (not heads), 0))
    assert TABLE.latency((*plan[:block], less, *plan[block + 1 :])) <= TABLE.latency(plan)


def test_a_width_between_two_measured_ones_lies_on_the_line_between_them_in_whole_nanoseconds() -> None:
    assert [WIDE.attention.at(kept) for kept in range(5)] == [0, 50, 100, 120, 140]
    assert WIDE.mlp.at(8) == 333 * 8 // 16
    assert isinstance(WIDE.mlp.at(17), int)


@pytest.mark.parametrize("kept", [-1, 5])
def test_a_width_that_was_not_measured_is_refused(kept: int) -> None:
    with pytest.raises(LatencyError, match=rf"expected 0\.\.4, found {kept}"):
        WIDE.attention.at(kept)


def test_a_plan_of_another_depth_is_refused() -> None:
    with pytest.raises(LatencyError, match="expected 3 blocks, found 2"):
        TABLE.latency(DENSE[:2])


def test_a_table_survives_its_file(tmp_path: Path) -> None:
    TABLE.save(tmp_path / "table.json")

    loaded = LatencyTable.load(tmp_path / "table.json")

    assert loaded == TABLE
    assert loaded.latency(DENSE) == TABLE.latency(DENSE)
    assert json.loads((tmp_path / "table.json").read_text())["format"] == 1


def test_a_table_fits_what_it_was_measured_of() -> None:
    TABLE.require_fit(MODEL)
    TABLE.require_fit(MODEL, device="Some GPU", backend="torch", batch=2, dtype="float32")


def test_a_table_of_another_model_is_refused() -> None:
    with pytest.raises(LatencyError, match=r"another model: expected DiT cdcd.*found DiT abab.*diffes bench table"):
        TABLE.require_fit(ModelIdentity(class_name="DiT", fingerprint="cd" * 32))


@pytest.mark.parametrize(
    ("field", "value"), [("device", "Some CPU"), ("backend", "onnxruntime"), ("batch", 8), ("dtype", "bfloat16")]
)
def test_a_table_measured_under_other_conditions_is_refused(field: str, value: Any) -> None:
    with pytest.raises(LatencyError, match=f"another {field}: expected {value}, found {getattr(TABLE, field)}"):
        TABLE.require_fit(MODEL, **{field: value})


def half(widths: list[int], nanoseconds: list[int]) -> list[dict[str, Any]]:
    whole: dict[str, Any] = WIDE.model_dump(mode="json")
    return [{**whole, "attention": {"widths": widths, "nanoseconds": nanoseconds}, "blocks": [0]}]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "format 1, found format None"),
        (changed(format=2), "format 1, found format 2"),
        (changed(rest=-1), "malformed at rest"),
        (changed(rest=1.5), "malformed at rest"),
        (changed(colour="red"), "malformed at colour"),
        (changed(costs=half([0, 2], [0, 5, 6])), "every width has one cost"),
        (changed(costs=half([1, 2], [0, 5])), "widths must rise from 0"),
        (changed(costs=half([0, 2, 2], [0, 5, 6])), "widths must rise from 0"),
        (changed(costs=half([0, 2], [1, 5])), "a skipped half costs nothing"),
        (changed(costs=half([0, 2, 4], [0, 5, 4])), "a wider half costs no less"),
        (changed(costs=[WIDE.model_dump(mode="json")]), "every block must have one cost"),
        (changed(costs=[WIDE.model_dump(mode="json"), WIDE.model_dump(mode="json")]), "every block must have one cost"),
    ],
)
def test_a_damaged_table_is_refused_by_what_is_wrong(document: Any, message: str, tmp_path: Path) -> None:
    (tmp_path / "table.json").write_text(json.dumps(document))
    with pytest.raises(LatencyError, match=re.escape(message)):
        LatencyTable.load(tmp_path / "table.json")


@pytest.mark.parametrize("text", [None, "not json"])
def test_what_is_no_table_is_refused(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(LatencyError, match="cannot read latency table .*diffes bench table"):
        LatencyTable.load(path)
