"""The tables of load say what a run on disk says, and nothing else."""

import json
from pathlib import Path
from typing import Any

from tests.examples.scripts import Done, run

DOCUMENT = """# Prose
<!-- begin serving_gpu -->
<!-- end serving_gpu -->
<!-- begin capacity_gpu -->
<!-- end capacity_gpu -->
"""


def measured(scheduler: str, load: float, p50: float, p99: float, within: tuple[float, float]) -> dict[str, Any]:
    good = dict(zip(("2", "4"), within, strict=True))
    told = {"scheduler": scheduler, "load": load, "requests": int(1000 * load), "p50": p50, "p95": p99, "p99": p99}
    return told | {"good": good, "images_a_step": 1.5, "busy": 0.5, "rate": 1.0}


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
    shared = {"dtype": "bfloat16", "backend": "torch", "most": 16, "alone": 0.1}
    return shared | {"machine": machine, "loads": loads}


def written(folder: Path) -> tuple[Done, list[list[str]]]:
    (folder / "serving").mkdir()
    (folder / "serving" / "gpu.json").write_text(json.dumps(result()))
    document = folder / "performance.md"
    document.write_text(DOCUMENT)
    kept = (word for kind in ("results", "memory", "images", "serving") for word in (f"--{kind}", folder / kind))
    done = run("benchmarks/performance_table.py", *kept, "--document", document)
    lines = document.read_text().splitlines()
    return done, [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_scheduler_is_told_in_times_of_one_image_alone_and_ours_beside_the_better_peer(tmp_path: Path) -> None:
    done, lines = written(tmp_path)
    assert done.error is None
    assert ["1", "one at a time", "2.00", "9.00", "40.0 %", "1.50", "–"] in lines
    assert ["2", "diffes, catch-up", "2.00", "4.00", "60.0 %", "1.50", "0.50 / 0.50 / 2.00"] in lines
    conditions = next(line for (line, *_) in lines if "A GPU" in line)
    assert "up to 16 images in a step, 1,000 / 2,000 requests" in conditions
    assert "one image alone, 100 ms" in conditions


def test_a_scheduler_bears_the_highest_load_whose_slowest_are_in_time(tmp_path: Path) -> None:
    _, lines = written(tmp_path)
    assert ["one at a time", "–", "0.40", "–", "0.70"] in lines
    assert ["whole requests", "–", "0.90", "1", "1.20"] in lines
    assert ["diffes, catch-up", "–", "1.20", "2", "1.80"] in lines
