"""Tables of load tests: contenders side by side, and waits beside theory."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loadtest.findings import Memory
from tests.benchmarks.kinds import KINDS
from tests.examples.scripts import run
from tests.loadtest import results

COMMITTED = Path(__file__).parents[2] / "benchmarks/results/loadtest/h200_dit_xl.json"


def table(folder: Path, kind: str, name: str, found: dict[str, Any]) -> tuple[list[dict[str, str]], str]:
    """Rows by their headings, and what stands below, of a document of this one table."""
    return tabled(folder, kind, {name: found}, f"{kind.replace('-', '_')}_{name}")


def tabled(
    folder: Path, kind: str, named: Mapping[str, dict[str, Any]], place: str
) -> tuple[list[dict[str, str]], str]:
    """The same of one table of several results."""
    for each in KINDS:
        (folder / each).mkdir()
    for name, found in named.items():
        (folder / kind / f"{name}.json").write_text(json.dumps(found))
    document = folder / "page.md"
    document.write_text(f"<!-- begin {place} -->\n<!-- end {place} -->\n")
    options = [word for each in KINDS for word in (f"--{each}", folder / each)]
    done = run("benchmarks/performance_table.py", *options, "--document", document)
    assert done.error is None
    _, heads, _, *lines = document.read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in (heads, *lines) if line.startswith("|")]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[1:]], "\n".join(lines)


def contenders() -> dict[str, Any]:
    """The committed result, the second contender's rate doubled, and a third that bears nothing."""
    found: dict[str, Any] = json.loads(COMMITTED.read_text())
    first, second, *_ = found["contenders"]
    rate = first["sustained"]["rate"]
    best = next(run for run in second["runs"] if run["rate"] == second["sustained"]["rate"])
    best["rate"] = second["sustained"]["rate"] = 2 * rate
    second["likeness"] = {"of": first["name"], "images": 1234, "frechet": 1.2345, "missing": ""}
    third = json.loads(json.dumps(first)) | {
        "name": "third",
        "sustained": {"rate": None, "limit": 1, "confirmed": False},
    }
    return found | {"contenders": [first, second, third]}


def test_each_contender_is_laid_beside_the_first_at_its_own_best_rate(tmp_path: Path) -> None:
    found = contenders()
    rows, below = table(tmp_path, "loadtest", "gpu", found)

    names = [each["name"] for each in found["contenders"]]
    assert [row["contender"] for row in rows] == names
    assert [row[f"times {names[0]}"] for row in rows] == ["1.00", "2.00", "–"]
    assert rows[2]["requests/s"] == "none"
    assert [row[f"FD to {names[0]} (images)"] for row in rows] == ["–", "1.23 (1,234)", "–"]
    assert float(rows[0]["images/s"]) > 0
    assert "answered within 1 s of when they were due" in below


def test_waits_stand_beside_theirs_in_theory(tmp_path: Path) -> None:
    load = {
        "utilisation": 0.9,
        "requests": 300000,
        "wait_seconds": 0.0459,
        "interval": [0.044, 0.0478],
        "measured_by_lindley": 1.004,
        "measured_by_theory": 1.02,
        "late_seconds": {"p50": 0.0008, "p99": 0.0021},
    }
    machine = {"cpus": 2, "versions": {"locust": "2.47"}}
    found = {"machine": machine, "service_seconds": 0.01, "alone_seconds": {"median": 0.0117}, "loads": [load]}
    rows, below = table(tmp_path, "open-loop", "cpu", found)

    assert rows == [
        {
            "utilisation": "0.9",
            "requests": "300,000",
            "mean wait, ms": "45.90 (44.00–47.80)",
            "times Lindley's": "1.004",
            "times M/D/1's": "1.020",
            "sent late, p99, ms": "2.1",
        }
    ]
    assert "a service of 10 ms" in below


def test_every_fate_of_every_scenario_is_told(tmp_path: Path) -> None:
    killed = results.run(found=results.findings(fates={"answered": 7, "refused": 2, "failed": 1}))
    killed = killed.model_copy(update={"happened": ["10 s: killed engine 123", "55 s: killed engine 456"]})
    memory = Memory(first=100 * 2**20, last=103 * 2**20, most=103 * 2**20, hourly=-1.5 * 2**20)
    long = results.contender("service", results.run(found=results.findings(memory=memory)))
    wrong = results.COMPARISON.model_copy(update={"wrong": ["aa"]})
    found = {
        "kill-engine": results.result(
            results.contender("service", killed, images=wrong),
            scenario="kill-engine",
            machine={"device": "CPU", "cores": "2"},
        ),
        "soak": results.result(long, scenario="soak", machine={"device": "Another", "cores": "4"}),
    }
    documents = {name: result.model_dump(mode="json") for name, result in found.items()}
    rows, below = tabled(tmp_path, "fates", documents, "fates")

    assert rows == [
        {
            "scenario": "kill-engine",
            "seconds": "10",
            "requests": "10",
            "answered": "7",
            "refused": "2",
            "failed": "1",
            "left": "0",
            "unknown": "0",
            "images checked": "10",
            "wrong": "1",
            "MiB": "0 → 0",
            "MiB an hour": "–",
            "faults": "2",
        },
        rows[1] | {"scenario": "soak", "images checked": "–", "wrong": "–", "MiB": "100 → 103", "MiB an hour": "-1.5"},
    ]
    assert "device CPU, cores 2; " in below
    assert "device Another, cores 4; " in below
