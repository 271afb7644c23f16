"""What is lost against what is saved: the front beside uniform schedules, and where along the trajectory it saves."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from diffes.pages.style import FAINT, INK, MUTED, dress, logarithmic, new_figure, to_png
from search.report.figures.colours import SEARCHED, UNIFORM

Points = Sequence[tuple[float, float]]  # (share removed, objective)

_MOST_TICKS = 9


@dataclass(frozen=True)
class FrontPlot:
    """Objectives of the front's points, least share removed to largest, and of uniform schedules on held-out noise;
    of all schedules judged, on the search's probes. `by_stage` is the share of its own cost that each stage of each
    point removes, noisy to clean; `executed` the steps each stage runs."""

    front: Points
    uniform: Points
    judged: Points
    objective: str
    unit: str
    by_stage: Sequence[Sequence[float]]
    executed: Sequence[int]


def draw_front(plot: FrontPlot) -> bytes:
    """A PNG of at least one point."""
    figure = new_figure(11, 4.4)
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    _draw_points(left, plot)
    _draw_stages(figure, right, plot)
    return to_png(figure)


def _draw_points(axes: Axes, plot: FrontPlot) -> None:
    judged = np.array(plot.judged).reshape(-1, 2)
    axes.plot(*judged.T, ".", color=MUTED, alpha=0.45, markersize=5, mew=0, label="every schedule judged, on probes")
    uniform = np.array(sorted(plot.uniform)).reshape(-1, 2)
    axes.plot(*uniform.T, "s--", color=UNIFORM, linewidth=1.6, markersize=5, label="uniform, on held-out noise")
    front = np.array(plot.front).reshape(-1, 2)
    axes.plot(*front.T, "o-", color=SEARCHED, linewidth=1.8, markersize=4, label="front, on held-out noise")
    logarithmic(axes, np.concatenate([judged[:, 1], uniform[:, 1], front[:, 1]]).tolist())
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    dress(axes, "Pareto front", f"share of {plot.unit} removed", f"{plot.objective} to dense")
    axes.grid(color=FAINT, linewidth=0.8)
    axes.legend(frameon=True, facecolor="white", edgecolor=FAINT, framealpha=0.95, fontsize=9, labelcolor=INK)


def _draw_stages(figure: Figure, axes: Axes, plot: FrontPlot) -> None:
    shares = np.array(plot.by_stage).T  # [stage, point]
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    dress(axes, f"{plot.unit} removed in each stage", "points of the front, by share removed in all", "")
    axes.set_ylabel("stage, noisy to clean (its steps)", color=INK)
    removed = [share for share, _ in plot.front]
    shown = range(0, len(removed), -(-len(removed) // _MOST_TICKS))
    axes.set_xticks(shown, [f"{removed[index]:.0%}" for index in shown])
    axes.set_yticks(range(len(shares)), [f"{stage} ({steps})" for stage, steps in enumerate(plot.executed)])
    axes.set_yticks(np.arange(len(shares) - 1) + 0.5, minor=True)
    axes.grid(which="minor", axis="y", color="white", linewidth=1)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, format=PercentFormatter(1, decimals=0), pad=0.02)
    bar.ax.tick_params(labelsize=8, colors=INK)
    bar.outline.set_visible(False)
