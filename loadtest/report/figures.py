"""Figures of runs: latencies, fates, queues, stages, memory. All begin at zero, unless an axis is logarithmic."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from diffes.pages.style import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    dress,
    logarithmic,
    new_figure,
    to_png,
)
from loadtest.faults import Happened
from loadtest.findings import StageShare
from loadtest.result import ContenderResult, RunResult
from loadtest.rows import FATES, Fate, Row
from loadtest.watch import Sample

COLOURS: dict[Fate, str] = {"answered": BLUE, "refused": ORANGE, "failed": VERMILION, "left": MUTED}
_HUES = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, INK)  # of contenders
_BINS = 40
_WIDTH, _HEIGHT = 9.0, 3.2  # inches


def latencies_over_time(rows: Sequence[Row], slo: float, happened: Sequence[Happened]) -> bytes:
    """A dot for every request: when it was due, and what its caller waited; and when something went wrong."""
    figure = new_figure(_WIDTH, _HEIGHT)
    axes = figure.subplots()
    for fate in FATES:
        of = [row for row in rows if row.fate == fate]
        if of:
            dots = [row.due for row in of], [max(row.seconds, 1e-3) for row in of]
            axes.scatter(*dots, s=9, color=COLOURS[fate], alpha=0.7, linewidths=0, label=fate)
    _slo(axes, slo)
    _faults(axes, happened)
    logarithmic(axes, [*(max(row.seconds, 1e-3) for row in rows), slo])
    dress(axes, "What each caller waited", "seconds since the start", "seconds since due")
    _legend(axes)
    return to_png(figure)


def latencies_over_rate(contenders: Sequence[ContenderResult], slo: float) -> bytes:
    """The median and the 99th percentile at every rate that was offered; hollow where the SLO did not hold."""
    figure = new_figure(_WIDTH, 3.8)
    axes, values = figure.subplots(), [slo]
    for contender, hue in zip(contenders, _hues(contenders), strict=True):
        runs = [run for run in _by_rate(contender) if run.findings.latency]
        for quantile, style in (("p50", ":"), ("p99", "-")):
            rates, times = [run.findings.offered for run in runs], [getattr(r.findings.latency, quantile) for r in runs]
            axes.plot(rates, times, style, color=hue, linewidth=1.4, label=f"{contender.name} {quantile}")
            values += times
        for rate, seconds, run in zip(rates, times, runs, strict=True):
            axes.plot(rate, seconds, "o", color=hue, markerfacecolor=hue if run.held else "white", markersize=6)
    _slo(axes, slo)
    logarithmic(axes, values)
    axes.set_xlim(left=0)
    dress(axes, "Latency against offered rate", "requests a second", "seconds since due")
    _legend(axes)
    return to_png(figure)


def goodput_over_rate(contenders: Sequence[ContenderResult]) -> bytes:
    """What was answered in time, beside what was asked for."""
    figure = new_figure(_WIDTH, _HEIGHT)
    axes = figure.subplots()
    most = max(run.findings.offered for contender in contenders for run in contender.runs)
    axes.plot([0, most], [0, most], color=FAINT, linewidth=1.2, label="all that is offered")
    for contender, hue in zip(contenders, _hues(contenders), strict=True):
        runs = _by_rate(contender)
        rates = [run.findings.offered for run in runs]
        axes.plot(rates, [run.findings.goodput for run in runs], "o-", color=hue, markersize=4, label=contender.name)
    axes.set(xlim=(0, None), ylim=(0, None))
    dress(axes, "Goodput against offered rate", "requests a second", "answered in time, a second")
    _legend(axes)
    return to_png(figure)


def fates_over_time(rows: Sequence[Row], seconds: float, slo: float, happened: Sequence[Happened]) -> bytes:
    """Requests a second that were due then, by what became of them, and how many of them were answered in time."""
    figure = new_figure(_WIDTH, _HEIGHT)
    axes = figure.subplots()
    edges = np.linspace(0, seconds, _BINS + 1)
    wide, below = edges[1], np.zeros(_BINS)
    for fate in FATES:
        height = _per_second([row.due for row in rows if row.fate == fate], edges)
        if height.any():
            axes.bar(edges[:-1], height, wide, bottom=below, align="edge", color=COLOURS[fate], alpha=0.75, label=fate)
        below += height
    good = _per_second([row.due for row in rows if row.fate == "answered" and row.seconds <= slo], edges)
    axes.step(edges[:-1], good, where="post", color=INK, linewidth=1.2, label="answered in time")
    _faults(axes, happened)
    axes.set(xlim=(0, seconds), ylim=(0, None))
    dress(axes, "What became of requests", "seconds since the start", "requests due, a second")
    _legend(axes)
    return to_png(figure)


def inside_over_time(samples: Sequence[Sample], began: float, happened: Sequence[Happened]) -> bytes:
    """Requests that wait for admission and images between two steps, as the service tells."""
    figure = new_figure(_WIDTH, _HEIGHT)
    axes = figure.subplots()
    told = [sample for sample in samples if sample.waiting is not None]
    at = [sample.at - began for sample in told]
    axes.step(at, [sample.waiting or 0 for sample in told], where="post", color=ORANGE, label="requests waiting")
    axes.step(at, [sample.running or 0 for sample in told], where="post", color=BLUE, label="images between two steps")
    _silent(axes, samples, began)
    _faults(axes, happened)
    axes.set_ylim(bottom=0)
    dress(axes, "Inside the service", "seconds since the start", "count")
    _legend(axes)
    return to_png(figure)


def stages(shares: Sequence[StageShare]) -> bytes:
    """Of every stage of every schedule: its share of the denoiser's time, and how many images went together."""
    figure = new_figure(_WIDTH, 1.2 + 0.26 * len(shares))
    left, right = figure.subplots(1, 2, sharey=True)
    names = [f"{share.schedule} {share.stage}" for share in shares]
    total = sum(share.seconds for share in shares)
    left.barh(names, [100 * share.seconds / total for share in shares], color=BLUE)
    right.barh(names, [share.batch for share in shares], color=GREEN)
    left.invert_yaxis()
    dress(left, "Share of the time in steps", "percent", "schedule and stage")
    dress(right, "Images in a step", "on average", "")
    return to_png(figure)


def memory_over_time(samples: Sequence[Sample], began: float) -> bytes:
    """Resident memory."""
    figure = new_figure(_WIDTH, 2.4)
    axes = figure.subplots()
    told = [sample for sample in samples if sample.resident]
    axes.plot([s.at - began for s in told], [(s.resident or 0) / 2**20 for s in told], color=BLUE, linewidth=1.2)
    axes.set_ylim(bottom=0)
    dress(axes, "Memory", "seconds since the start", "MiB resident")
    return to_png(figure)


def _by_rate(contender: ContenderResult) -> list[RunResult]:
    return sorted(contender.runs, key=lambda run: run.findings.offered)


def _hues(contenders: Sequence[ContenderResult]) -> list[str]:
    return [_HUES[place % len(_HUES)] for place in range(len(contenders))]


def _per_second(times: Sequence[float], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    counts, _ = np.histogram(times, edges)
    rates: NDArray[np.float64] = counts / edges[1]
    return rates


def _slo(axes: Axes, seconds: float) -> None:
    axes.axhline(seconds, color=INK, linewidth=1, linestyle="--", label=f"in time: {seconds:.3g} s")


def _faults(axes: Axes, happened: Sequence[Happened]) -> None:
    """A line where each began, and a band until it was over."""
    for place, each in enumerate(happened):
        axes.axvline(each.began, color=VERMILION, linewidth=1, label=None if place else "something goes wrong")
        if each.ended > each.began:
            axes.axvspan(each.began, each.ended, color=VERMILION, alpha=0.12, linewidth=0)


def _silent(axes: Axes, samples: Sequence[Sample], began: float) -> None:
    """Where the service told nothing."""
    for place, sample in enumerate(samples[:-1]):
        if sample.waiting is None:
            axes.axvspan(sample.at - began, samples[place + 1].at - began, color=FAINT, linewidth=0)


def _legend(axes: Axes) -> None:
    axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.01, 1))
