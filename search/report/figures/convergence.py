"""How the best objective fell with the denoising spent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from matplotlib.axes import Axes

from diffes.pages import style
from diffes.pages.style import FAINT, INK, MUTED
from search.report.figures.colours import KNAPSACK, SEARCHED, UNIFORM

_LINES = {"uniform": (UNIFORM, "--"), "knapsack": (KNAPSACK, "-.")}
_LEAST_SHARE = 0.08  # of the axis, for a phase to be named inside its band


@dataclass(frozen=True)
class Convergence:
    """Points (evaluations so far, objective) of the best and of the population's mean, evaluations by phase before
    the evolution, and objectives to compare with, by name."""

    objective: str
    best: Sequence[tuple[float, float]]
    mean: Sequence[tuple[float, float]]
    before: Mapping[str, float]
    references: Mapping[str, float]
    title: str = "Best objective against denoising spent"


def draw_convergence(data: Convergence) -> bytes:
    """A PNG; at least one point or reference must be there."""
    figure = style.new_figure(9, 4.4)
    axes = figure.subplots()
    end = max([sum(data.before.values()), *(x for x, _ in data.best)]) * 1.03
    _draw_phases(axes, data.before, end)
    for name, value in data.references.items():
        colour, dashes = _LINES[name]
        axes.axhline(value, color=colour, linestyle=dashes, linewidth=1.6, label=f"{name} alone: {value:.3g}")
    if data.mean:
        axes.plot(*zip(*data.mean, strict=True), ".", color=MUTED, markersize=7, label="mean of a generation")
    if data.best:
        label = f"best so far: {data.best[-1][1]:.3g}"
        axes.plot(*zip(*data.best, strict=True), color=SEARCHED, linewidth=2.2, drawstyle="steps-post", label=label)
        axes.plot(*zip(*data.best, strict=True), "o", color=SEARCHED, markersize=4.5)
    style.logarithmic(axes, [*(y for _, y in (*data.best, *data.mean)), *data.references.values()])
    axes.set_xlim(0, end)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}".replace(",", "\u202f"))
    style.dress(
        axes, data.title, "denoiser evaluations (rows of one dense step)", f"{data.objective} to dense, search probes"
    )
    axes.grid(axis="y", which="major", color=FAINT, linewidth=0.8)
    axes.legend(frameon=True, facecolor="white", edgecolor=FAINT, framealpha=0.95, fontsize=9, labelcolor=INK)
    return style.to_png(figure)


def _draw_phases(axes: Axes, phases: Mapping[str, float], end: float) -> None:
    edges = [0.0]
    for evaluations in phases.values():
        edges.append(edges[-1] + evaluations)
    for number, (name, (left, right)) in enumerate(zip(phases, pairwise(edges), strict=True)):
        axes.axvspan(left, right, color=FAINT, alpha=0.75 if number % 2 == 0 else 0.4, linewidth=0)
        middle = (left + right) / 2
        place = axes.get_xaxis_transform()
        upright = 90 if right - left < _LEAST_SHARE * end else 0
        axes.text(
            middle, 0.02, name, transform=place, ha="center", va="bottom", rotation=upright, color=MUTED, fontsize=9
        )
