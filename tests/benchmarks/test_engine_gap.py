"""The gap between steps is measured on steps of the rows that were asked for, and no other."""

import json
from pathlib import Path

from diffes.bundle import Bundle
from tests.examples.scripts import run


def test_steps_of_each_size_are_measured_by_themselves(tiny_bundle: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "gap.json"
    sizes = "--images", "1", "--images", "3", "--requests", "2"
    done = run("benchmarks/engine_gap.py", tiny_bundle.folder, "--device", "cpu", *sizes, "--out", out)
    assert done.error is None
    result = json.loads(out.read_text())
    steps = tiny_bundle.manifest.schedules[tiny_bundle.default].sampler.steps
    assert [(gap["rows"], gap["steps"]) for gap in result["gaps"]] == [(2, 2 * (steps - 1)), (6, 2 * (steps - 1))]
    for gap in result["gaps"]:
        low, middle, high = gap["step_ms"]
        assert 0 < low <= middle <= high
        assert gap["request_ms"] >= steps * low
        assert gap["share"][1] >= 0
