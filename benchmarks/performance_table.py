"""Writes the tables of docs/performance.md from results on disk; the prose around them stays.

    python benchmarks/performance_table.py            # --check: only say whether the tables are what the results give

Reads what `diffes bench compare` left in benchmarks/results/performance/NAME.json, whose table stands at NAME, and what
`diffes bench memory` left in benchmarks/results/memory/, all in one table at memory; what exporting.py left in
benchmarks/results/exporting/, likewise at exporting. What images_per_second.py left in
benchmarks/results/images/NAME.json stands at images_NAME; what serving_load.py left in benchmarks/results/serving/ at
serving_NAME, load by load, at capacity_NAME, scheduler by scheduler, at deadlines_NAME, if callers did not wait any
longer, and at simulated_NAME, by simulation; what engine_gap.py left in benchmarks/results/serving_gap/ at gap_NAME;
what decoding.py left in benchmarks/results/decoding/ at decoding_NAME; what `diffes loadtest --compare` left, its
loadtest.json as benchmarks/results/loadtest/NAME.json, at loadtest_NAME; what open_loop.py left in
benchmarks/results/open_loop/ at open_loop_NAME; what other scenarios of `diffes loadtest` left in
benchmarks/results/fates/, all in one table at fates.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from loadtest_table import contenders_table, fates_table, open_loop_table
from numpy.typing import NDArray
from serving_table import capacity_table, deadlines_table, gap_table, serving_table, simulated_table
from tables import MISSING, markdown, quartiles, versions_of, write_tables

from loadtest.result import Result

_HEADLINES = {"gpu": "h200_bfloat16", "gpu_sdxl": "sdxl_h200_bfloat16"}  # what the README shows, by place
_PEERS = ("diffusers-compiled", "diffusers")  # the first one there is compared with
_FOLDERS = {
    "results": "performance",
    "memory": "memory",
    "exporting": "exporting",
    "images": "images",
    "serving": "serving",
    "gaps": "serving_gap",
    "decoding": "decoding",
    "loadtest": "loadtest",
    "open-loop": "open_loop",
    "fates": "fates",
}

Step = dict[str, Any]


def comparison_table(result: dict[str, Any]) -> str:
    """One row a run and plan: milliseconds by batch, how much faster than the peer, and what of the ideal is real.

    The ideal is the dense model's time over the share of its operations that a plan does.
    """
    steps: list[Step] = result["steps"]
    batches = sorted({step["rows"] for step in steps})
    runs = list(dict.fromkeys((step["name"], step["plan"]) for step in steps))
    peer = next((name for name in _PEERS if (name, "dense") in runs), None)
    heads = ["runs", "plan", *(f"{rows} rows, ms" for rows in batches), f"times {peer}", "of the ideal"]
    lines = [
        [
            name,
            plan,
            *(_milliseconds(_find(steps, name, plan, rows)) for rows in batches),
            " / ".join(_faster(steps, name, plan, peer, rows) for rows in batches),
            MISSING if plan == "dense" else " / ".join(_realised(steps, name, plan, rows) for rows in batches),
        ]
        for name, plan in runs
    ]
    best = " / ".join(f"{_find(steps, *runs[0], rows)['roofline']:.2f}" for rows in batches)
    machine, versions = result["machine"], versions_of(result["machine"])
    conditions = (
        f"{machine['device']}, {result['dtype']}, {versions}; at best {machine['peak_tflops']:.3g} TFLOP/s and"
        f" {machine['peak_bandwidth']:.2g} TB/s, so {best} ms dense. Medians (quartiles) of"
        f" {steps[0]['rounds']} rounds or more, all in one run."
    )
    return f"{markdown(heads, lines)}\n\n{conditions}{_memory(result['memory'])}"


def _find(steps: Sequence[Step], name: str, plan: str, rows: int) -> Step:
    return next(step for step in steps if (step["name"], step["plan"], step["rows"]) == (name, plan, rows))


def _milliseconds(step: Step) -> str:
    digits = 2 if step["ms"] < 100 else 0
    return f"{step['ms']:.{digits}f} ({step['low']:.{digits}f}–{step['high']:.{digits}f})"


def _faster(steps: Sequence[Step], name: str, plan: str, peer: str | None, rows: int) -> str:
    if peer is None:
        return MISSING
    return f"{_find(steps, peer, 'dense', rows)['ms'] / _find(steps, name, plan, rows)['ms']:.2f}"


def _realised(steps: Sequence[Step], name: str, plan: str, rows: int) -> str:
    dense, pruned = (_find(steps, name, which, rows) for which in ("dense", plan))
    return f"{dense['ms'] / pruned['ms'] / (dense['gflop'] / pruned['gflop']):.2f}"


def _memory(loaded: Sequence[dict[str, Any]]) -> str:
    told = [
        f"{each['name']} {each['opened'] / 2**20:,.0f} + {each['first_steps'] / 2**20:,.0f}"
        for each in loaded
        if each["opened"] is not None
    ]
    return f" Device memory in MiB, opened + first steps: {', '.join(told)}." if told else ""


def memory_table(reports: Sequence[dict[str, Any]]) -> str:
    """Megabytes, also as times the dense model's: of each way to hold all stages, and what backends took of a GPU."""
    first = reports[0]
    held = {
        "weights of the dense model": first["dense"],
        "weights of every subgraph, as a bundle holds them": first["bundle"],
        "weights of a pruned copy for every plan (stitching)": first["copies"],
        "weights of the dense model and every stage's thinned projections (Diff-ES' bank)": first["bank"],
    }
    for report in reports:
        held[f"GPU, {report['backend']}: opened with every subgraph"] = report["opened"]
        held[f"GPU, {report['backend']}: and first steps of every subgraph"] = report["opened"] + report["first_steps"]
    rows = [[what, f"{size / 1e6:,.0f}", f"{size / first['dense']:.3f}"] for what, size in held.items()]
    conditions = f"{first['model']}; {first['machine']}; steps of {' and '.join(map(str, first['rows']))} rows."
    return f"{markdown(['what', 'MB', 'times dense'], rows)}\n\n{conditions}"


def exporting_table(written: Sequence[dict[str, Any]]) -> str:
    """A run a row: minutes, what host memory, and what the bundle weighs."""
    heads = [
        "host",
        "graphs run as well",
        "minutes",
        "memory",
        "with mapped pages",
        "all stages' weights",
        "graphs, MB",
    ]
    rows = [
        [
            "{device}, {threads} threads, torch {versions[torch]}".format(**run["machine"]),
            "yes" if run["verified"] else "no",
            f"{run['seconds'] / 60:.1f}",
            f"{run['anonymous'] / run['model_bytes']:.2f} x the model",
            f"{run['resident'] / run['model_bytes']:.2f} x",
            f"{run['resident_bytes'] / run['dense_bytes']:.3f} x dense",
            f"{run['graph_bytes'] / 1e6:.1f}",
        ]
        for run in written
    ]
    first = written[0]
    conditions = (
        f"{first['model']}, random weights, {first['dtype']}, {first['model_bytes'] / 1e9:.2f} GB; {first['stages']}"
        f" stages of {first['subgraphs']} plans. Memory is the most that was held at once, torch's own included."
    )
    return f"{markdown(heads, rows)}\n\n{conditions}"


def images_table(result: dict[str, Any]) -> str:
    """Images per second by run and number made at once, and how many times diffusers' that is, turn by turn."""
    seconds = {(run["name"], run["images"]): np.array(run["seconds"]) for run in result["runs"]}
    names, counts = (list(dict.fromkeys(run[key] for run in result["runs"])) for key in ("name", "images"))
    peers = {count: seconds["diffusers", count] for count in counts}
    rows = [
        [
            name,
            *(_quartiles(count / seconds[name, count]) for count in counts),
            *(_quartiles(peers[count] / seconds[name, count]) for count in counts),
        ]
        for name in names
    ]
    at_once = [f"{count} at once" for count in counts]
    heads = [
        "runs",
        *(f"images a second, {told}" for told in at_once),
        *(f"times diffusers, {told}" for told in at_once),
    ]
    machine, versions = result["machine"], versions_of(result["machine"])
    conditions = (
        f"{machine['device']}, {machine['threads']} threads, {result['dtype']}, {versions}; {result['steps']} steps,"
        f" guided. Medians (quartiles) of {len(result['runs'][0]['seconds'])} turns."
    )
    return f"{markdown(heads, rows)}\n\n{conditions}"


def _quartiles(values: NDArray[np.float64]) -> str:
    return quartiles(list(np.quantile(values, (0.25, 0.5, 0.75))))


def decoding_table(result: dict[str, Any]) -> str:
    """Milliseconds by run and images decoded at once, how many times faster than the others that is, and errors."""
    decoded = {(each["name"], each["images"]): each for each in result["decoded"]}
    names, counts = (list(dict.fromkeys(each[key] for each in result["decoded"])) for key in ("name", "images"))
    rows = [
        [
            name,
            *(quartiles(decoded[name, count]["ms"]) for count in counts),
            " / ".join(
                f"{decoded['diffusers', count]['ms'][1] / decoded[name, count]['ms'][1]:.2f}" for count in counts
            ),
            f"{max(decoded[name, count]['error'] for count in counts):.2g}",
        ]
        for name in names
    ]
    heads = ["runs", *(f"{count} at once, ms" for count in counts), "times diffusers", "largest error"]
    machine, versions = result["machine"], versions_of(result["machine"])
    rounds = min(each["rounds"] for each in result["decoded"])
    conditions = (
        f"{machine['device']}, {result['dtype']}, {versions}. Medians (quartiles) of {rounds} rounds or more; errors"
        " from diffusers' own in float32, of images from -1 to 1."
    )
    return f"{markdown(heads, rows)}\n\n{conditions}"


def headline_table(result: dict[str, Any]) -> str:
    """Few runs: milliseconds of a step, and how many times faster than the peer's dense one."""
    steps: list[Step] = result["steps"]
    batches = sorted({step["rows"] for step in steps})
    peer = next(name for name in _PEERS if any(step["name"] == name for step in steps))
    runs = {
        "diffusers": ("diffusers", "dense"),
        "diffusers, torch.compile": (peer, "dense"),
        "Diffes, dense": ("diffes torch", "dense"),
        "Diffes, half of every block": ("diffes torch", "half"),
    }
    rows = [
        [
            what,
            *(f"{_find(steps, *run, batch)['ms']:.2f} ({_faster(steps, *run, peer, batch)} x)" for batch in batches),
        ]
        for what, run in runs.items()
    ]
    heads = [result["machine"]["device"] + ", " + result["dtype"], *(f"{batch} rows, ms" for batch in batches)]
    return markdown(heads, rows)


def tables_of(options: argparse.Namespace) -> dict[str, str]:
    """All tables by their places."""
    tables = _each(options.results, comparison_table, "")
    reports = [json.loads(path.read_text()) for path in sorted(options.memory.glob("*.json"), reverse=True)]
    tables |= {"memory": memory_table(reports)} if reports else {}
    written = [json.loads(path.read_text()) for path in sorted(options.exporting.glob("*.json"), reverse=True)]
    tables |= {"exporting": exporting_table(written)} if written else {}
    tables |= _each(options.images, images_table, "images_")
    for table, prefix in ((serving_table, "serving_"), (capacity_table, "capacity_")):
        tables |= _each(options.serving, table, prefix)
    tables |= _each(options.serving, deadlines_table, "deadlines_", having="deadlines")
    tables |= _each(options.serving, simulated_table, "simulated_", having="simulated")
    tables |= _each(options.gaps, gap_table, "gap_")
    tables |= _each(options.decoding, decoding_table, "decoding_")
    tables |= _each(options.loadtest, lambda found: contenders_table(Result.model_validate(found)), "loadtest_")
    ends = [Result.model_validate_json(path.read_text()) for path in sorted(options.fates.glob("*.json"))]
    tables |= {"fates": fates_table(ends)} if ends else {}
    return tables | _each(options.open_loop, open_loop_table, "open_loop_")


def _each(
    folder: Path, table: Callable[[dict[str, Any]], str], prefix: str, having: str | None = None
) -> dict[str, str]:
    """The table of every result in a folder, or of those that have something to tell of."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    return {f"{prefix}{name}": table(result) for name, result in found.items() if having is None or result.get(having)}


def main() -> None:
    """Write the tables, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, folder in _FOLDERS.items():
        parser.add_argument(f"--{option}", type=Path, default=Path("benchmarks/results") / folder)
    parser.add_argument("--document", type=Path, default=Path("docs/performance.md"))
    parser.add_argument("--readme", type=Path, default=Path("README.md"))
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    write_tables(options.document, tables_of(options), check=options.check)
    results = {place: options.results / f"{name}.json" for place, name in _HEADLINES.items()}
    tables = {place: headline_table(json.loads(path.read_text())) for place, path in results.items() if path.exists()}
    write_tables(options.readme, tables, check=options.check)


if __name__ == "__main__":
    main()
