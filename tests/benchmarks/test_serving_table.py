"""The tables of load say what a run on disk says, and nothing else."""

import json
from pathlib import Path
from typing import Any

from tests.benchmarks.kinds import KINDS
from tests.examples.scripts import Done, run

DOCUMENT = """# Prose
<!-- begin serving_gpu -->
<!-- end serving_gpu -->
<!-- begin capacity_gpu -->
<!-- end capacity_gpu -->
<!-- begin deadlines_gpu -->
<!-- end deadlines_gpu -->
<!-- begin simulated_gpu -->
<!-- end simulated_gpu -->
<!-- begin gap_gpu -->
<!-- end gap_gpu -->
"""


def measured(scheduler: str, load: float, p50: float, p99: float, within: tuple[float, float]) -> dict[str, Any]:
    good = dict(zip(("2", "4"), within, strict=True))
    told = {"scheduler": scheduler, "load": load, "requests": int(1000 * load), "p50": p50, "p95": p99, "p99": p99}
    return told | {"alone": 0.1, "good": good, "images_a_step": 1.5, "busy": 0.5, "rate": 1.0}


def kept(scheduler: str, load: float, slack: float, **told: float) -> dict[str, Any]:
    return {"scheduler": scheduler, "load": load, "slack": slack, "alone": 0.1, "requests": int(1000 * load), **told}


def result() -> dict[str, Any]:
    machine = {"device": "A GPU", "threads": 8, "versions": {"torch": "2.11"}}
    loads = [
        measured("one at a time", 1.0, 0.2, 0.9, (0.4, 0.7)),
        measured("whole requests", 1.0, 0.3, 0.4, (0.9, 1.0)),
        measured("diffes, catch-up", 1.0, 0.2, 0.3, (0.95, 1.0)),
        measured("one at a time", 2.0, 3.0, 9.0, (0.0, 0.1)),
        measured("whole requests", 2.0, 0.4, 0.8, (0.3, 0.6)),
        measured("diffes, catch-up", 2.0, 0.2, 0.4, (0.6, 0.9)),
    ]
    loads[2]["spread"] = {"p50": [0.9, 1.1], "p99": [0.6, 0.9], "good": [1.0, 1.25]}
    shared = {"dtype": "bfloat16", "backend": "torch", "most": 16, "stretches": 4}
    simulated = [
        measured("diffes, catch-up", 3.0, 0.7, 0.9, (0.2, 0.3)),
        measured("whole requests", 3.0, 1, 2, (0.1, 1)),
    ]
    whole, ours = "whole requests", "diffes, catch-up"
    deadlines = [
        kept(whole, 2.0, 2.0, good=0.5, refused=0.3, dropped=0.15, p99=0.18),
        kept(whole, 3.0, 4.0, good=0.5, refused=0.3, dropped=0.15, p99=0.38),
        kept(ours, 2.0, 2.0, good=0.7, refused=0.2, dropped=0.05, p99=0.19),
        kept(ours, 3.0, 2.0, good=0.4, refused=0.5, dropped=0.1, p99=0.2),
        kept(ours, 3.0, 4.0, good=0.8, refused=0.1, dropped=0.0, p99=0.3),
    ]
    return shared | {"machine": machine, "loads": loads, "simulated": simulated, "deadlines": deadlines}


def gaps() -> dict[str, Any]:
    gap = {"rows": 16, "steps": 380, "step_ms": [3, 4, 5], "gap_ms": [0.09, 0.1, 0.12], "share": [0.02, 0.025, 0.031]}
    machine = {"device": "A GPU", "threads": 8, "versions": {"torch": "2.11"}}
    return {"machine": machine, "dtype": "bfloat16", "backend": "torch", "gaps": [gap]}


def written(folder: Path, told: dict[str, Any] | None = None) -> tuple[Done, list[list[str]]]:
    (folder / "serving").mkdir()
    (folder / "serving" / "gpu.json").write_text(json.dumps(told or result()))
    document = folder / "performance.md"
    document.write_text(DOCUMENT)
    (folder / "gaps").mkdir()
    (folder / "gaps" / "gpu.json").write_text(json.dumps(gaps()))
    kept = (word for kind in KINDS for word in (f"--{kind}", folder / kind))
    done = run("benchmarks/performance_table.py", *kept, "--document", document)
    lines = document.read_text().splitlines()
    return done, [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_scheduler_is_told_in_times_of_one_image_alone_and_ours_beside_the_better_peer(tmp_path: Path) -> None:
    done, lines = written(tmp_path)
    assert done.error is None
    assert ["1", "one at a time", "2.00", "9.00", "40.0 %", "1.50", "–"] in lines
    assert ["2", "diffes, catch-up", "2.00", "4.00", "60.0 %", "1.50", "0.50 / 0.50 / 2.00"] in lines
    assert lines[lines.index(["1", "whole requests", "3.00", "4.00", "90.0 %", "1.50", "–"]) + 1][-1] == (
        "1.00 (0.90–1.10) / 0.75 (0.60–0.90) / 1.06 (1.00–1.25)"
    )
    conditions = next(line for (line, *_) in lines if "A GPU" in line)
    assert "up to 16 images in a step, 1,000 / 2,000 requests" in conditions
    assert "one image alone, 100 ms" in conditions


def test_a_peer_that_did_nothing_in_time_is_no_measure_of_what_others_did(tmp_path: Path) -> None:
    told = result()
    for each in told["loads"]:
        each["good"] = {slack: share if "diffes" in each["scheduler"] else 0.0 for slack, share in each["good"].items()}
    told["loads"][2]["spread"]["good"] = None
    done, lines = written(tmp_path, told)
    assert done.error is None
    assert "1.00 (0.90–1.10) / 0.75 (0.60–0.90) / –" in [line[-1] for line in lines]
    assert "0.50 / 0.50 / –" in [line[-1] for line in lines]


def test_a_scheduler_bears_the_load_at_which_its_slowest_begin_to_be_late(tmp_path: Path) -> None:
    _, lines = written(tmp_path)
    assert ["one at a time", "< 1", "0.40", "< 1", "0.70"] in lines
    assert ["whole requests", "< 1", "0.90", "1.00", "1.20"] in lines
    assert ["diffes, catch-up", "< 1", "1.20", "≥ 2", "1.80"] in lines


def test_what_is_done_in_time_with_deadlines_is_told_beside_the_most_that_whole_requests_do(tmp_path: Path) -> None:
    _, lines = written(tmp_path)
    whole, ours = ("0.90 (of 1)", "1.00 (of 2)"), ("1.20 (of 2)", "1.40 (of 2)")
    assert ["2 x", *whole, *ours, "20.0 % / 5.0 %", "1.90", "1.56 / 1.40"] in lines
    whole, ours = ("1.20 (of 2)", "1.50 (of 3)"), ("1.80 (of 2)", "2.40 (of 3)")
    assert ["4 x", *whole, *ours, "10.0 % / 0.0 %", "3.00", "2.00 / 1.60"] in lines


def test_what_was_simulated_is_told_like_what_was_measured(tmp_path: Path) -> None:
    _, lines = written(tmp_path)
    assert ["3", "diffes, catch-up", "7.00", "9.00", "20.0 %", "1.50", "0.70 / 0.45 / 2.00"] in lines
    assert any("By simulation" in line and "3,000 requests or more" in line for (line, *_) in lines)


def test_a_gap_is_told_beside_the_step_before_it(tmp_path: Path) -> None:
    _, lines = written(tmp_path)
    assert ["16", "4.00 (3.00–5.00)", "0.100 (0.090–0.120)", "2.5 % (2.0–3.1)"] in lines
