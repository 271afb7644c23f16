"""The tables say what comparisons on disk say, and nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.kinds import KINDS
from tests.examples.scripts import Done, run

DOCUMENT = "# Prose\n\nbefore\n<!-- begin gpu -->\n<!-- end gpu -->\nafter\n"
TIMES = {("ours", "dense"): (4.0, 8.0), ("ours", "half"): (2.5, 4.0), ("diffusers", "dense"): (9.0, 10.0)}
GFLOP = {"dense": 100.0, "half": 50.0}


def step(name: str, plan: str, rows: int, ms: float) -> dict[str, Any]:
    shared = {"rounds": 7, "gflop": GFLOP[plan] * rows, "tflops": 1.0, "roofline": 0.5 * rows}
    return {"name": name, "plan": plan, "rows": rows, "ms": ms, "low": ms - 0.1, "high": ms + 0.1, **shared}


def result(peer: str = "diffusers") -> dict[str, Any]:
    steps = [
        step(name.replace("diffusers", peer), plan, rows, times[at])
        for at, rows in enumerate((2, 16))
        for (name, plan), times in TIMES.items()
    ]
    versions = {"torch": "2.11"}
    machine = {"device": "A GPU", "versions": versions, "peak_tflops": 700.0, "peak_bandwidth": 3.2}
    memory = [{"name": "ours", "opened": 3 << 20, "first_steps": 1 << 20}]
    return {"dtype": "bfloat16", "machine": machine, "steps": steps, "memory": memory}


def write(folder: Path, results: dict[str, Any], *arguments: str) -> Done:
    for name, content in results.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    document = folder / "performance.md"
    if not document.exists():
        document.write_text(DOCUMENT)
    kept = {f"--{kind}": folder / kind for kind in KINDS} | {"--results": folder}
    places = *(word for option in kept.items() for word in option), "--document", document
    return run("benchmarks/performance_table.py", *places, *arguments)


def row(folder: Path, *starts: str) -> list[str]:
    lines = (folder / "performance.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return next(cells for cells in rows if tuple(cells[: len(starts)]) == starts)[len(starts) :]


@pytest.mark.parametrize("peer", ["diffusers", "diffusers-compiled"])
def test_runs_are_compared_with_the_peer_and_with_the_ideal(tmp_path: Path, peer: str) -> None:
    assert write(tmp_path, {"gpu": result(peer)}).error is None
    assert row(tmp_path, "runs")[-2] == f"times {peer}"
    assert row(tmp_path, "ours", "half") == ["2.50 (2.40–2.60)", "4.00 (3.90–4.10)", "3.60 / 2.50", "0.80 / 1.00"]
    assert row(tmp_path, "ours", "dense")[2:] == ["2.25 / 1.25", "–"]
    text = (tmp_path / "performance.md").read_text()
    assert "A GPU, bfloat16, torch 2.11; at best 700 TFLOP/s and 3.2 TB/s, so 1.00 / 8.00 ms dense" in text
    assert "ours 3 + 1" in text
    assert text.startswith("# Prose\n\nbefore\n")


def test_an_export_is_told_in_multiples_of_the_model(tmp_path: Path) -> None:
    machine = {"device": "a host", "threads": 2, "versions": {"torch": "2.13"}}
    sizes = {"model_bytes": 2e9, "blob_bytes": 2e9, "graph_bytes": 7e6, "dense_bytes": 1e9, "resident_bytes": 1.01e9}
    taken = {"anonymous": 2.2e9, "resident": 3e9, "seconds": 90, "verified": True, "stages": 10, "subgraphs": 9}
    (tmp_path / "exporting").mkdir()
    written = {"model": "m", "dtype": "bfloat16", "machine": machine, **sizes, **taken}
    (tmp_path / "exporting" / "m.json").write_text(json.dumps(written))
    (tmp_path / "performance.md").write_text("<!-- begin exporting -->\n<!-- end exporting -->\n")
    assert write(tmp_path, {}).error is None
    found = ["yes", "1.5", "1.10 x the model", "1.50 x", "1.010 x dense", "7.0"]
    assert row(tmp_path, "a host, 2 threads, torch 2.13") == found
    assert "2.00 GB; 10 stages of 9 plans" in (tmp_path / "performance.md").read_text()


def test_checking_writes_nothing_and_tells_a_stale_table(tmp_path: Path) -> None:
    write(tmp_path, {"gpu": result()})
    assert write(tmp_path, {}, "--check").error is None
    changed = result()
    changed["steps"][0]["ms"] = 3.0
    before = (tmp_path / "performance.md").read_text()
    assert "is not what the results give" in str(write(tmp_path, {"gpu": changed}, "--check").error)
    assert (tmp_path / "performance.md").read_text() == before


def test_a_result_without_a_place_is_an_error(tmp_path: Path) -> None:
    assert "expected one place for cpu, found 0" in str(write(tmp_path, {"cpu": result()}).error)


def test_memory_is_told_beside_the_dense_models(tmp_path: Path) -> None:
    (tmp_path / "performance.md").write_text("<!-- begin memory -->\n<!-- end memory -->\n")
    (tmp_path / "memory").mkdir()
    told = {"model": "A model", "machine": "A GPU", "rows": [2, 16]}
    weights = {"dense": 10_000_000, "bundle": 10_200_000, "copies": 50_000_000, "bank": 20_000_000}
    for backend, opened in (("torch", 11_000_000), ("onnxruntime", 12_000_000)):
        report = {**told, **weights, "backend": backend, "opened": opened, "first_steps": 3_000_000}
        (tmp_path / "memory" / f"{backend}.json").write_text(json.dumps(report))
    assert write(tmp_path, {}).error is None
    assert row(tmp_path, "weights of every subgraph, as a bundle holds them") == ["10", "1.020"]
    assert row(tmp_path, "GPU, torch: opened with every subgraph") == ["11", "1.100"]
    assert row(tmp_path, "GPU, onnxruntime: and first steps of every subgraph") == ["15", "1.500"]


def test_images_are_told_by_the_second_and_beside_diffusers_turn_by_turn(tmp_path: Path) -> None:
    (tmp_path / "performance.md").write_text("<!-- begin images_cpu -->\n<!-- end images_cpu -->\n")
    (tmp_path / "images").mkdir()
    seconds = {"diffusers": [2.0, 4.0, 8.0], "ours": [1.0, 2.0, 2.0]}
    runs = [{"name": name, "images": count, "seconds": found} for count in (1, 4) for name, found in seconds.items()]
    machine = {"device": "A CPU", "threads": 2, "versions": {"torch": "2.11"}}
    found = {"machine": machine, "dtype": "float32", "steps": 20, "runs": runs}
    (tmp_path / "images" / "cpu.json").write_text(json.dumps(found))
    assert write(tmp_path, {}).error is None
    times = "2.00 (2.00–3.00)"
    assert row(tmp_path, "ours") == ["0.50 (0.50–0.75)", "2.00 (2.00–3.00)", times, times]
    assert (
        "A CPU, 2 threads, float32, torch 2.11; 20 steps, guided. Medians (quartiles) of 3 turns."
        in (tmp_path / "performance.md").read_text()
    )


def test_decoders_are_told_beside_diffusers(tmp_path: Path) -> None:
    (tmp_path / "performance.md").write_text("<!-- begin decoding_gpu -->\n<!-- end decoding_gpu -->\n")
    (tmp_path / "decoding").mkdir()
    times = {("ours", 1): 2.0, ("ours", 4): 5.0, ("diffusers", 1): 5.0, ("diffusers", 4): 15.0}
    decoded = [
        {"name": name, "images": images, "ms": [ms - 1, ms, ms + 1], "error": ms / 100, "rounds": 9 - images}
        for (name, images), ms in times.items()
    ]
    machine = {"device": "A GPU", "versions": {"torch": "2.11"}}
    found = {"machine": machine, "dtype": "bfloat16", "decoded": decoded}
    (tmp_path / "decoding" / "gpu.json").write_text(json.dumps(found))
    assert write(tmp_path, {}).error is None
    assert row(tmp_path, "ours") == ["2.00 (1.00–3.00)", "5.00 (4.00–6.00)", "2.50 / 3.00", "0.05"]
    assert row(tmp_path, "diffusers")[-2:] == ["1.00 / 1.00", "0.15"]
    assert (
        "A GPU, bfloat16, torch 2.11. Medians (quartiles) of 5 rounds or more"
        in (tmp_path / "performance.md").read_text()
    )


def test_the_documents_show_what_the_results_give() -> None:
    assert run("benchmarks/performance_table.py", "--check").error is None
