"""Tables of what serving_load.py measured, schedulers side by side at each load and the load that each can bear; and of
what engine_gap.py did.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from serving_statistics import BETTER, PEERS, WHOLE, beside, ratio
from tables import MISSING, markdown, quartiles, versions_of

Measured = dict[str, Any]


def serving_table(result: dict[str, Any]) -> str:
    """One row a load and scheduler: latencies as times the time alone, goodput; ours also beside the better peer."""
    loads, machine, versions = result["loads"], result["machine"], versions_of(result["machine"])
    alone = _range([1000 * each["alone"] for each in loads])
    requests = " / ".join(f"{at[0]['requests']:,}" for at in _by_load(loads).values())
    conditions = (
        f"{machine['device']}, {machine['threads']} threads, {result['backend']}, {result['dtype']}, {versions}; up to"
        f" {result['most']} images in a step, {requests} requests in {result['stretches']} stretches, schedulers in"
        f" turns. Times are told in times of one image alone, {alone} ms;"
        " load in times of what one at a time can serve."
    )
    return f"{_side_by_side(loads)}\n\n{conditions}"


def simulated_table(result: dict[str, Any]) -> str:
    """The same, of what the schedulers' choices would come to if nothing but steps took time."""
    requests = f"{min(each['requests'] for each in result['simulated']):,}"
    conditions = f"By simulation, at the costs that steps had before the run; {requests} requests or more at each load."
    return f"{_side_by_side(result['simulated'])}\n\n{conditions}"


def _side_by_side(measured: Sequence[Measured]) -> str:
    slack = next(iter(measured[0]["good"]))
    rows = [
        [f"{load:g}", each["scheduler"], *_felt(each, slack), _beside(each, at)]
        for load, at in _by_load(measured).items()
        for each in at
    ]
    heads = ["load", "scheduler", "p50", "p99", f"done within {slack} x", "images a step", "beside the better peer"]
    return markdown(heads, rows)


def _range(values: Sequence[float]) -> str:
    low, high = f"{min(values):.0f}", f"{max(values):.0f}"
    return low if low == high else f"{low} to {high}"


def _by_load(measured: Sequence[Measured]) -> dict[float, list[Measured]]:
    loads = sorted({each["load"] for each in measured})
    return {load: [each for each in measured if each["load"] == load] for load in loads}


def _felt(each: Measured, slack: str) -> list[str]:
    times = [f"{each[quantile] / each['alone']:.2f}" for quantile in ("p50", "p99")]
    return [*times, f"{100 * each['good'][slack]:.1f} %", f"{each['images_a_step']:.2f}"]


def _beside(each: Measured, at: Sequence[Measured]) -> str:
    """Ours over the better peer's, in each measure, and where nine in ten such ratios lie if that is known."""
    peers = [peer for peer in at if peer["scheduler"] in PEERS]
    if each in peers:
        return MISSING
    ratios, spread = beside(each, peers), each.get("spread") or {}
    return " / ".join(_times(ratios[what]) + _edges(spread.get(what)) for what in BETTER)


def _times(found: float | None) -> str:
    return MISSING if found is None else f"{found:.2f}"


def _edges(edges: Sequence[float] | None) -> str:
    if edges is None:
        return ""
    low, high = (f"{edge:.2f}" for edge in edges)
    return f" ({low}–{high})"


def capacity_table(result: dict[str, Any]) -> str:
    """One row a scheduler: by slack, the load it can bear whose p99 keeps it, and the most load done in it."""
    schedulers = list(dict.fromkeys(each["scheduler"] for each in result["loads"]))
    slacks = list(result["loads"][0]["good"])
    rows = []
    for scheduler in schedulers:
        measured = [each for each in result["loads"] if each["scheduler"] == scheduler]
        row = [scheduler]
        for slack in slacks:
            row += [_borne(measured, float(slack)), f"{_most(measured, scheduler, slack).done:.2f}"]
        rows.append(row)
    told = [(f"load with p99 within {slack} x", f"most load done within {slack} x") for slack in slacks]
    return markdown(["scheduler", *(head for pair in told for head in pair)], rows)


def _borne(measured: Sequence[Measured], slack: float) -> str:
    """The load up to which p99 keeps within `slack` times alone, on lines between those measured."""
    points = sorted((each["load"], each["p99"] / each["alone"]) for each in measured)
    kept = [place for place, (_, above) in enumerate(points) if above <= slack]
    if not kept:
        return f"< {points[0][0]:g}"
    if kept[-1] == len(points) - 1:
        return f"≥ {points[-1][0]:g}"
    (low, below), (high, above) = points[kept[-1]], points[kept[-1] + 1]
    return f"{low + (high - low) * (slack - below) / (above - below):.2f}"


def deadlines_table(result: dict[str, Any]) -> str:
    """One row a slack: the most load done in it by each scheduler, and if callers wait no longer, behind the engine's
    admission; with what became of the others of ours.
    """
    schedulers = list(dict.fromkeys(each["scheduler"] for each in result["deadlines"]))
    ours = next(name for name in schedulers if name not in PEERS)
    rows = []
    for slack in result["loads"][0]["good"]:
        waiting = {name: _most(result["loads"], name, slack) for name in schedulers}
        asked = [
            {**each, "good": {slack: each["good"]}} for each in result["deadlines"] if f"{each['slack']:g}" == slack
        ]
        leaving = {name: _most(asked, name, slack) for name in schedulers}
        done = [most[name] for name in (WHOLE, ours) for most in (waiting, leaving)]
        kept = leaving[ours].of
        rows.append(
            [
                f"{slack} x",
                *(f"{most.done:.2f} (of {most.of['load']:g})" for most in done),
                f"{100 * kept['refused']:.1f} % / {100 * kept['dropped']:.1f} %",
                MISSING if kept["p99"] is None else f"{kept['p99'] / kept['alone']:.2f}",
                " / ".join(_times(ratio(leaving[ours].done, most[WHOLE].done)) for most in (waiting, leaving)),
            ]
        )
    told = [head for name in (WHOLE, "diffes") for head in (name, f"{name}, with deadlines")]
    return markdown(["within", *told, "refused / dropped", "p99 of the others", f"times {WHOLE}"], rows)


class _Most(NamedTuple):
    """Of a scheduler: load done within a slack, and where that was."""

    done: float
    of: Measured


def _most(measured: Iterable[Measured], scheduler: str, slack: str) -> _Most:
    """At whichever load it is most."""
    told = (_Most(each["load"] * each["good"][slack], each) for each in measured if each["scheduler"] == scheduler)
    return max(told, key=lambda most: most.done)


def gap_table(result: dict[str, Any]) -> str:
    """One row a batch: milliseconds of a step and of the gap before the next, and the gap's share of its step."""
    rows = [
        [str(each["rows"]), quartiles(each["step_ms"], 2), quartiles(each["gap_ms"], 3), _percent(each["share"])]
        for each in result["gaps"]
    ]
    machine, versions = result["machine"], versions_of(result["machine"])
    steps = " / ".join(f"{each['steps']:,}" for each in result["gaps"])
    conditions = (
        f"{machine['device']}, {result['backend']}, {result['dtype']}, {versions}. Medians (quartiles) of {steps}"
        " steps, by the device's clock."
    )
    return f"{markdown(['rows', 'step, ms', 'gap, ms', 'share'], rows)}\n\n{conditions}"


def _percent(values: Sequence[float]) -> str:
    low, middle, high = (f"{100 * value:.1f}" for value in values)
    return f"{middle} % ({low}–{high})"
