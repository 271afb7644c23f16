"""The benchmark of search methods: what it leaves, and that it goes on from it."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from diffes.schedule import Schedule
from tests.conftest import tiny_dit
from tests.examples.scripts import ROOT, Done, run
from tests.search.searching import count_distances

SMALL = {"probes": 2, "screen_probes": None, "generations": 1, "population": 4, "elite": 2, "table_probes": 1}
SMALL |= {"calibration_images": 4, "steps": 4, "stages": 4, "candidates": 1, "threads": 1}
METHODS = ("ours", "diff-es", "uniform")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny DiT of images as large as the feature network takes."""
    folder = tmp_path_factory.mktemp("models") / "dit"
    tiny_dit(sample_size=32, patch_size=8).save_pretrained(folder / "transformer")
    DDIMScheduler(beta_start=1e-4, beta_end=0.02, clip_sample=False).save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "DiTPipeline",
        "transformer": ["diffusers", "DiTTransformer2DModel"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "vae": [None, None],
        "id2label": {str(i): str(i) for i in range(10)},
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def bench(model: Path, out: Path, *arguments: object, **changes: Any) -> Done:
    settings = [word for name, value in (SMALL | changes).items() for word in ("--set", f"{name}={json.dumps(value)}")]
    which = ["--method", *METHODS, "--budget", 0.375, "--seed", 0, "--batch", 4]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIFFES_CACHE", "set by the script")
        return run("benchmarks/search_methods.py", model, "--out", out, *which, *settings, *arguments)


@pytest.fixture(scope="module")
def finished(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bench")
    done = bench(model, out, "--evaluate", 8)
    assert done.error is None
    assert "nothing remains" in done.output
    return out


def results(out: Path) -> dict[str, dict[str, Any]]:
    return {path.stem.split("_")[0]: json.loads(path.read_text()) for path in out.glob("*.json")}


def test_every_search_leaves_one_file_with_what_a_table_needs(finished: Path) -> None:
    found = results(finished)
    assert set(found) == set(METHODS)
    for method, result in found.items():
        schedule = Schedule.model_validate(result["schedule"])
        assert result["macs_removed"] == pytest.approx(schedule.cost.macs_removed)
        assert result["macs_removed"] >= 0.375
        assert result["evaluation"]["n"] == 8
        assert result["trace"][-1]["best"] == result["best"]
        assert result["trace"][-1]["evaluations"] < result["evaluations"]["total"]
        assert len(result["trace"]) == (1 if method == "uniform" else 2)


def test_every_method_has_the_same_calibration_and_dense_images(finished: Path) -> None:
    found = results(finished).values()
    assert len({result["schedule"]["provenance"]["ordering"] for result in found}) == 1
    assert len({result["evaluation"]["reference_frechet_to_data"] for result in found}) == 1
    assert len(list((finished / "work").glob("calibration-*.safetensors"))) == 1


def test_what_is_there_is_not_done_again(finished: Path, model: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.glob("*.json")}
    assert "nothing remains" in bench(model, finished, "--evaluate", 8).output
    assert {path: path.stat().st_mtime_ns for path in finished.glob("*.json")} == before


def test_results_of_other_options_are_refused(finished: Path, model: Path) -> None:
    done = bench(model, finished, probes=3)
    assert "was made under other options" in str(done.error)
    assert "probes: 2 → 3" in str(done.error)


def test_a_piece_that_fails_is_told_and_stops_no_other(finished: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "copy"
    shutil.copytree(finished, out)
    for method in ("ours", "uniform"):
        path = out / f"{method}_0.375_seed0.json"
        result = json.loads(path.read_text()) | {"evaluation": None}
        if method == "ours":
            result["schedule"]["provenance"]["ordering"] = "another"
        path.write_text(json.dumps(result))

    done = bench(model, out, "--evaluate", 8)

    assert re.search(r"evaluate ours_0.375_seed0 failed: .*another calibration", str(done.error))
    assert results(out)["ours"]["evaluation"] is None
    assert results(out)["uniform"]["evaluation"]["n"] == 8


def test_without_time_nothing_is_begun_and_what_remains_is_said(model: Path, tmp_path: Path) -> None:
    done = bench(model, tmp_path, "--time-limit", 0, "--evaluate", 8)
    assert done.error is None
    assert "6 pieces remain, first search ours_0.375_seed0, evaluate ours_0.375_seed0" in done.output
    assert not list(tmp_path.glob("*.json"))


def test_a_search_that_was_cut_goes_on_from_its_folder(model: Path, tmp_path: Path) -> None:
    only = ["--method", "random"]
    with pytest.MonkeyPatch.context() as patch:
        whole = count_distances(patch, cut_at=None)
        bench(model, tmp_path / "whole", *only)
    with pytest.MonkeyPatch.context() as patch:
        made = count_distances(patch, cut_at=len(whole) // 2)
        with pytest.raises(KeyboardInterrupt):
            bench(model, tmp_path / "cut", *only)
        assert bench(model, tmp_path / "cut", *only).error is None
    assert len(made) == len(whole), "something was computed twice"
    schedules = [results(tmp_path / name)["random"]["schedule"] for name in ("whole", "cut")]
    assert schedules[0] == schedules[1]


def test_it_needs_no_runtime_of_the_service() -> None:
    blocked = ("bentoml", "onnxruntime", "onnx", "onnxscript", "starlette", "prometheus_client", "pyarrow")
    code = (
        f"import sys; sys.path[:0] = [{str(ROOT / 'benchmarks')!r}, {str(ROOT)!r}]\n"
        f"sys.modules.update(dict.fromkeys({blocked!r}))\n"
        "import search_methods, quality_table, schedule_quality"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
