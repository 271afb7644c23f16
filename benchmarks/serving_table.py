"""Tables of what serving_load.py measured: schedulers side by side at each load, and the load that each can bear."""

from collections.abc import Sequence
from typing import Any

from tables import MISSING, markdown, versions_of

_PEERS = ("one at a time", "whole requests")
_BETTER = {"p50": min, "p99": min, "good": max}

Measured = dict[str, Any]


def serving_table(result: dict[str, Any]) -> str:
    """One row a load and scheduler: latencies as times the time alone, goodput; ours also beside the better peer."""
    slack = next(iter(result["loads"][0]["good"]))
    by_load = _by_load(result["loads"])
    rows = [
        [f"{load:g}", each["scheduler"], *_felt(each, result["alone"], slack), _beside(each, at, slack)]
        for load, at in by_load.items()
        for each in at
    ]
    heads = ["load", "scheduler", "p50", "p99", f"done within {slack} x", "images a step", "beside the better peer"]
    machine, versions = result["machine"], versions_of(result["machine"])
    requests = " / ".join(f"{at[0]['requests']:,}" for at in by_load.values())
    conditions = (
        f"{machine['device']}, {machine['threads']} threads, {result['backend']}, {result['dtype']}, {versions}; up to"
        f" {result['most']} images in a step, {requests} requests. Times are told in times of one image alone,"
        f" {1000 * result['alone']:.0f} ms; load in times of what one at a time can serve."
    )
    return f"{markdown(heads, rows)}\n\n{conditions}"


def _by_load(measured: Sequence[Measured]) -> dict[float, list[Measured]]:
    loads = sorted({each["load"] for each in measured})
    return {load: [each for each in measured if each["load"] == load] for load in loads}


def _felt(each: Measured, alone: float, slack: str) -> list[str]:
    times = [f"{each[quantile] / alone:.2f}" for quantile in ("p50", "p99")]
    return [*times, f"{100 * each['good'][slack]:.1f} %", f"{each['images_a_step']:.2f}"]


def _beside(each: Measured, at: Sequence[Measured], slack: str) -> str:
    """Ours over the better peer's, of what each column holds."""
    peers = [peer for peer in at if peer["scheduler"] in _PEERS]
    if each in peers:
        return MISSING

    def value(measured: Measured, what: str) -> float:
        return float(measured["good"][slack] if what == "good" else measured[what])

    ratios = [value(each, what) / best(value(peer, what) for peer in peers) for what, best in _BETTER.items()]
    return " / ".join(f"{ratio:.2f}" for ratio in ratios)


def capacity_table(result: dict[str, Any]) -> str:
    """One row a scheduler: by slack, the highest load whose p99 keeps it, and the most load done in it."""
    schedulers = list(dict.fromkeys(each["scheduler"] for each in result["loads"]))
    slacks = list(result["loads"][0]["good"])
    rows = []
    for scheduler in schedulers:
        measured = [each for each in result["loads"] if each["scheduler"] == scheduler]
        row = [scheduler]
        for slack in slacks:
            held = [each["load"] for each in measured if each["p99"] <= float(slack) * result["alone"]]
            done = max(each["load"] * each["good"][slack] for each in measured)
            row += [f"{max(held):g}" if held else MISSING, f"{done:.2f}"]
        rows.append(row)
    told = [(f"highest load with p99 within {slack} x", f"most load done within {slack} x") for slack in slacks]
    return markdown(["scheduler", *(head for pair in told for head in pair)], rows)
