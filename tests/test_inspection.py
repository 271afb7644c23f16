"""An inspection adds up."""

import json
from io import StringIO

import pytest
from rich.console import Console

from diffes.bundle import Bundle
from diffes.inspection import inspect, resident_bytes


def test_the_json_has_what_scripts_read(tiny_bundle: Bundle) -> None:
    document = json.loads(json.dumps(inspect(tiny_bundle).to_json()))
    assert {"memory_ratio", "macs_removed", "stages", "subgraphs"} <= set(document)
    assert [schedule["name"] for schedule in document["schedules"]] == ["dense", "mixed"]
    assert document["stages"] == document["schedules"][1]["stages"]
    assert document["labels"][0] == "airplane"


def test_the_stages_macs_add_up_to_the_schedules_cost(tiny_bundle: Bundle) -> None:
    for inspected in inspect(tiny_bundle).schedules:
        schedule, stages = tiny_bundle.schedule(inspected.name), inspected.stages
        rows = 2  # guidance runs the unconditional row too
        assert rows * sum(stage.macs * stage.steps for stage in stages) == schedule.cost.macs
        assert sum(stage.steps for stage in stages) == schedule.sampler.steps


def test_macs_removed_is_the_default_schedules(tiny_bundle: Bundle) -> None:
    inspection = inspect(tiny_bundle)
    kept = sum(stage.share_kept * stage.steps for stage in inspection.stages) / 20
    assert inspection.default == "mixed"
    assert inspection.macs_removed == pytest.approx(1 - kept)


def test_bytes_that_several_subgraphs_read_are_counted_once(tiny_bundle: Bundle) -> None:
    subgraphs = tiny_bundle.manifest.subgraphs
    inspection = inspect(tiny_bundle)
    single = {entry.id: entry.weight_bytes for entry in inspection.subgraphs}
    assert resident_bytes(tiny_bundle, subgraphs) == max(single.values()) < sum(single.values())
    assert inspection.resident_bytes <= inspection.blob_bytes


def test_it_prints_every_stage_and_subgraph(tiny_bundle: Bundle) -> None:
    console = Console(width=200, file=StringIO())
    console.print(inspect(tiny_bundle))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for subgraph in tiny_bundle.manifest.subgraphs:
        assert subgraph.file in text
    assert "999..900" in text
    assert "x dense" in text
