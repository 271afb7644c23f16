"""The tables say what the results on disk say, and nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest

from search.options import SearchOptions
from tests.examples.scripts import ROOT, Done, run

DOCUMENT = "# Prose\n\nbefore\n" + "".join(
    f"<!-- begin {name} -->\n<!-- end {name} -->\nafter {name}\n"
    for name in (
        *(
            "distance",
            "distance-mse",
            "objective",
            "evaluations",
            "absolute",
            "compensation",
            "moments",
            "guidance",
            "texts",
        ),
        "conditions",
    )
)
README = "# Readme\n<!-- begin summary -->\n<!-- end summary -->\nafter\n"


def keep(
    folder: Path,
    method: str,
    *,
    seed: int = 0,
    budget: float = 0.3747,
    distance: float | None,
    trace: list[tuple[float, float]],
    stored: float = 1.0,
) -> None:
    """A result whose trace is (evaluations, best) and whose images were judged unless `distance` is None."""
    machine = {"device": "A GPU", "torch": "2.11", "python": "3.12", "tf32": True, "command": f"run {method}"}
    measures: dict[str, Any] = {"n": 10000, "frechet_distance": distance, "frechet_to_data": 7.0, "mse": 0.004}
    measures |= {"ssim": 0.9, "class_accuracy": 0.75, "reference_class_accuracy": 0.8, "reference_frechet_to_data": 5.0}
    result = {
        "method": method,
        "budget": budget,
        "seed": seed,
        "best": trace[-1][1],
        "macs_removed": 0.376,
        "weights_of_dense": stored,
        "trace": [{"evaluations": evaluations, "best": best} for evaluations, best in trace],
        "options": SearchOptions(macs=0.375).model_dump(),
        "machine": machine,
        "schedule": {"provenance": {"ordering": "same"}},
        "evaluation": None if distance is None else measures | {"seconds": 1.0, "machine": machine},
    }
    folder.mkdir(exist_ok=True)
    (folder / f"{method}_{budget:g}_seed{seed}.json").write_text(json.dumps(result))


def write(tmp_path: Path, *arguments: str) -> Done:
    if not (tmp_path / "quality.md").exists():
        (tmp_path / "quality.md").write_text(DOCUMENT)
    if not (tmp_path / "README.md").exists():
        (tmp_path / "README.md").write_text(README)
    where = ["--results", tmp_path / "results", "--by-mse", tmp_path / "by-mse", "--schedules", tmp_path / "schedules"]
    documents = ["--document", tmp_path / "quality.md", "--readme", tmp_path / "README.md"]
    return run("benchmarks/quality_table.py", *where, *documents, *arguments)


def keep_schedules(tmp_path: Path, name: str, moments: str, *guidances: float) -> None:
    """What schedule_quality.py leaves: a row for every guidance, its class accuracy a tenth of that."""
    measures = {"frechet_distance": 1.5, "frechet_to_data": 8.0, "mse": 0.01, "reference_frechet_to_data": 5.0}
    measures |= {"reference_class_accuracy": 0.9, "macs_removed": 0.301, "ssim": 0.75}
    rows = [measures | {"schedule": "uniform", "guidance": each, "class_accuracy": each / 10} for each in guidances]
    study = {"moments": moments, "calibration_images": 512, "rows": rows}
    (tmp_path / "schedules").mkdir(exist_ok=True)
    (tmp_path / "schedules" / name).write_text(json.dumps(study))


def row(tmp_path: Path, table: str, *starts: str, document: str = "quality.md") -> list[str]:
    """Cells after `starts` of the row that begins with them."""
    text = (tmp_path / document).read_text()
    lines = text.split(f"<!-- begin {table} -->\n")[1].split("<!-- end")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return next(cells for cells in rows if tuple(cells[: len(starts)]) == starts)[len(starts) :]


def test_without_results_every_cell_is_a_dash_and_the_prose_stays(tmp_path: Path) -> None:
    assert write(tmp_path).error is None
    assert set(row(tmp_path, "distance", "ours")) == {"–"}
    assert set(row(tmp_path, "evaluations", "50.0%", "–", "to its best")) == {"–"}
    text = (tmp_path / "quality.md").read_text()
    assert text.startswith("# Prose\n\nbefore\n")
    assert text.endswith("after conditions\n")


def test_distances_are_ratios_to_the_one_uniform_schedule(tmp_path: Path) -> None:
    keep(tmp_path / "results", "uniform", distance=4.0, trace=[(10, 1.0)])
    for seed, ours in enumerate((1.0, 1.0, 2.5)):
        keep(tmp_path / "results", "ours", seed=seed, distance=ours, trace=[(10, 1.0)])
    keep(tmp_path / "results", "diff-es", distance=None, trace=[(10, 1.0)])
    write(tmp_path)
    assert row(tmp_path, "distance", "ours") == ["–", "0.38 (0.25–0.62, 3 seeds)", "–", "–"]
    assert row(tmp_path, "distance", "diff-es")[1] == "–"
    assert row(tmp_path, "absolute", "37.5%", "ours") == ["37.60%", "1.500", "7.00", "0.7500", "0.9000", "0.00400", "3"]
    assert row(tmp_path, "absolute", "0", "dense")[2:4] == ["5.00", "0.8000"]


def test_evaluations_are_counted_to_the_first_generation_that_is_as_good(tmp_path: Path) -> None:
    keep(tmp_path / "results", "diff-es", distance=None, trace=[(100, 0.9), (900, 0.5), (1000, 0.5)])
    keep(tmp_path / "results", "ours", distance=None, trace=[(50, 0.8), (90, 0.5), (200, 0.3)])
    keep(tmp_path / "results", "random", distance=None, trace=[(100, 0.9), (1000, 0.7)])
    write(tmp_path)
    whole = row(tmp_path, "evaluations", "37.5%", "0.5", "its whole search")
    to_best = row(tmp_path, "evaluations", "37.5%", "0.5", "to its best")
    assert whole == ["1,000", "0.090 (1 seed)", "–", "–", "never"]
    assert to_best == ["900", "0.100 (1 seed)", "–", "–", "never"]


def test_a_seed_that_never_got_there_is_said_and_not_averaged(tmp_path: Path) -> None:
    for seed, best in ((0, 0.5), (1, 0.6)):
        keep(tmp_path / "results", "diff-es", seed=seed, distance=None, trace=[(1000, 0.5)])
        keep(tmp_path / "results", "ours", seed=seed, distance=None, trace=[(200, best)])
    write(tmp_path)
    assert row(tmp_path, "evaluations", "37.5%")[3] == "0.200 (1 seed; 1 of 2 never)"


def test_a_compensation_mode_is_told_with_what_it_stores_and_loses_of_fulls_gain(tmp_path: Path) -> None:
    for method, distance, stored in (("none", 50.0, 1.0), ("within-1.1", 14.0, 1.097), ("ours", 10.0, 1.5)):
        keep(tmp_path / "results", method, budget=0.4997, distance=distance, trace=[(10, 1.0)], stored=stored)
    write(tmp_path)
    limited = row(tmp_path, "compensation", "full, within 1.1 x")
    assert (limited[1], limited[2], limited[-2:]) == ("1.097 x", "14.000", ["10.0%", "1"])
    assert row(tmp_path, "compensation", "none")[-2] == "100.0%"
    assert row(tmp_path, "compensation", "full")[-2] == "0.0%"
    assert set(row(tmp_path, "compensation", "bias")) == {"–"}


def test_searches_by_another_objective_stand_beside(tmp_path: Path) -> None:
    keep(tmp_path / "results", "ours", distance=1.0, trace=[(10, 1.0)])
    for method, distance in (("ours", 3.0), ("uniform", 6.0)):
        keep(tmp_path / "by-mse", method, distance=distance, trace=[(10, 1.0)])
    write(tmp_path)
    assert row(tmp_path, "objective", "37.5%", "ours") == ["3.00 (1 seed)", "1.00 (1 seed)"]
    assert row(tmp_path, "distance-mse", "ours")[1] == "0.50 (1 seed)"


def test_the_readme_tells_every_budget_and_all_measures_of_one(tmp_path: Path) -> None:
    keep(tmp_path / "results", "ours", budget=0.3747, distance=1.0, trace=[(10, 1.0)])
    for seed, distance in enumerate((2.0, 4.0)):
        keep(tmp_path / "results", "ours", budget=0.4997, seed=seed, distance=distance, trace=[(10, 1.0)])
    write(tmp_path)
    told = row(tmp_path, "summary", "**Diffes**, a level for every block", document="README.md")
    assert told == ["–", "1.00", "3.00", "–", "7.00", "0.7500", "0.9000", "0.00400"]
    assert (tmp_path / "README.md").read_text().endswith("after\n")


def test_sources_of_moments_and_guidances_stand_in_order(tmp_path: Path) -> None:
    keep_schedules(tmp_path, "moments_data.json", "noised data", 1.5)
    keep_schedules(tmp_path, "moments_trajectories.json", "trajectories", 1.5)
    keep_schedules(tmp_path, "guidance.json", "trajectories", 3.0, 1.25)
    write(tmp_path)
    assert row(tmp_path, "moments", "noised data", "uniform") == ["512", "1.50", "8.00", "0.1500", "0.01000"]
    assert row(tmp_path, "guidance", "3") == ["5.00", "8.00", "0.9000", "0.3000", "1.50"]
    text = (tmp_path / "quality.md").read_text()
    assert text.index("| 1.25 |") < text.index("| 3 |")
    assert text.index("| trajectories |") < text.index("| noised data |")


def test_schedules_of_the_text_to_image_model_stand_below_its_dense_self(tmp_path: Path) -> None:
    keep_schedules(tmp_path, "texts.json", "trajectories", 5.0)
    write(tmp_path)
    assert row(tmp_path, "texts", "dense") == ["0", "0", "5.00", "0.9000", "1", "0"]
    assert row(tmp_path, "texts", "uniform") == ["30.1%", "1.50", "8.00", "0.5000", "0.7500", "0.01000"]


def test_conditions_are_told(tmp_path: Path) -> None:
    keep(tmp_path / "results", "ours", distance=1.0, trace=[(10, 1.0)])
    keep(tmp_path / "by-mse", "ours", distance=None, trace=[(10, 1.0)])
    write(tmp_path)
    text = (tmp_path / "quality.md").read_text()
    assert "N = 10,000 images" in text
    assert "A GPU, torch 2.11, TF32: 3 searches and evaluations" in text


def test_a_document_that_is_behind_its_results_is_noticed(tmp_path: Path) -> None:
    write(tmp_path)
    assert write(tmp_path, "--check").error is None
    keep(tmp_path / "results", "uniform", distance=1.0, trace=[(10, 1.0)])
    assert "is not what the results give" in str(write(tmp_path, "--check").error)


def test_results_of_different_probes_are_not_put_side_by_side(tmp_path: Path) -> None:
    keep(tmp_path / "results", "uniform", distance=1.0, trace=[(10, 1.0)])
    keep(tmp_path / "results", "ours", distance=1.0, trace=[(10, 1.0)])
    path = tmp_path / "results/ours_0.3747_seed0.json"
    result = json.loads(path.read_text())
    result["options"]["probes"] = 5
    path.write_text(json.dumps(result))
    assert "probes is 5 and 8" in str(write(tmp_path).error)


def test_a_table_without_a_place_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "quality.md").write_text("nothing here")
    assert "expected one place for distance, found 0" in str(write(tmp_path).error)


def test_the_documents_of_this_repository_are_what_its_results_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert run("benchmarks/quality_table.py", "--check").error is None
