"""A search in one picture: convergence beside the schedule's heat map, or a front beside those of its schedules."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from diffes.files import atomic_path
from search.genome import Genome, GenomeSpace

_MOST_TICKS = 9
_MOST_LABELLED = 12  # rows whose cells have room for a number
Series = Sequence[tuple[float, float]]  # (share removed, error)

_INK, _MUTED, _BLUE, _AMBER = "#1f2933", "#8492a0", "#2166ac", "#c8741a"


@dataclass(frozen=True)
class Picture:
    """What is drawn: objectives in order of evaluation (inf: failed), references by name, the chosen schedule."""

    objectives: Sequence[float]
    references: dict[str, float]
    objective: str
    genome: Genome
    space: GenomeSpace
    executed: Sequence[int]
    removed: float
    unit: str = "MACs"


@dataclass(frozen=True)
class FrontPicture:
    """What is drawn of a front: errors on held-out noise of its points, least share removed to largest, and of uniform
    schedules; of all schedules judged, on the search's probes. `by_stage` is the share of its own cost that each
    stage of each point removes, noisy to clean."""

    judged: Series
    uniform: Series
    front: Series
    objective: str
    by_stage: Sequence[Sequence[float]]
    executed: Sequence[int]
    unit: str = "MACs"


def save_plot(picture: Picture, path: Path) -> None:
    """Write a PNG, whole or not at all."""
    figure, left, right = _two_panels()
    _draw_convergence(left, picture)
    _draw_schedule(right, picture)
    _save(figure, path)


def save_front_plot(picture: FrontPicture, path: Path) -> None:
    """Write a PNG, whole or not at all."""
    figure, left, right = _two_panels()
    _draw_front(left, picture)
    _draw_stages(figure, right, picture)
    _save(figure, path)


def _two_panels() -> tuple[Figure, Axes, Axes]:
    figure = Figure(figsize=(11, 4.2), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
    return figure, left, right


def _save(figure: Figure, path: Path) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png")


def _draw_convergence(axes: Axes, picture: Picture) -> None:
    objectives = np.where(np.isfinite(picture.objectives), picture.objectives, np.nan)
    number = np.arange(1, len(objectives) + 1)
    best = np.fmin.accumulate(objectives)
    axes.plot(number, objectives, ".", color=_MUTED, markersize=5, label="schedule")
    axes.plot(number, best, color=_BLUE, linewidth=2, drawstyle="steps-post", label="best so far")
    for (name, value), style in zip(picture.references.items(), ("--", ":"), strict=False):
        axes.axhline(value, color=_AMBER, linestyle=style, linewidth=1.2, label=name)
    values = [v for v in (*objectives, *picture.references.values()) if np.isfinite(v)]
    if values and min(values) > 0 and max(values) > 4 * min(values):
        axes.set_yscale("log")
    axes.set_xlim(0.5, max(len(objectives), 10) + 0.5)
    axes.set_xlabel("schedules evaluated")
    axes.set_ylabel(f"{picture.objective.upper()} to the dense model's samples")
    axes.set_title("Convergence", loc="left", color=_INK, fontweight="bold")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)


def _draw_schedule(axes: Axes, picture: Picture) -> None:
    space = picture.space
    levels = np.array(picture.genome).reshape(space.stages, space.genes_of_stage).T  # [gene of a stage, stage]
    removed = levels / space.grid.parts
    axes.imshow(removed, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for gene, stage in np.ndindex(levels.shape if len(levels) <= _MOST_LABELLED else (0, 0)):
        idle = picture.executed[stage] == 0
        colour = _MUTED if idle else "white" if removed[gene, stage] > 0.55 else _INK
        text = "–" if idle else f"{100 * removed[gene, stage]:.3g}%"
        axes.text(stage, gene, text, ha="center", va="center", color=colour, fontsize=8)
    axes.set_yticks(range(len(levels)), [_label(space, gene) for gene in range(len(levels))], fontsize=8)
    axes.set_xticks(range(levels.shape[1]), [f"{i}\n{n}" for i, n in enumerate(picture.executed)])
    axes.set_xlabel("stage, noisy to clean; below it the steps it runs")
    title = f"Removed in each stage ({picture.removed:.1%} of all {picture.unit})"
    axes.set_title(title, loc="left", color=_INK, fontweight="bold")
    axes.set_xticks(np.arange(levels.shape[1] + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(levels) - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=2 if len(levels) <= _MOST_LABELLED else 0.5)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)


def _draw_front(axes: Axes, picture: FrontPicture) -> None:
    judged = np.array(picture.judged).reshape(-1, 2)
    axes.plot(*judged.T, ".", color=_MUTED, alpha=0.6, markersize=6, mew=0, label="every schedule judged, on probes")
    uniform = np.array(picture.uniform).reshape(-1, 2)
    axes.plot(*uniform.T, "s--", color=_AMBER, linewidth=1.2, markersize=4, label="uniform, on held-out noise")
    front = np.array(picture.front).reshape(-1, 2)
    axes.plot(*front.T, "o-", color=_BLUE, linewidth=1.6, markersize=3.5, label="front, on held-out noise")
    errors = np.concatenate([judged[:, 1], uniform[:, 1], front[:, 1]])
    if len(errors) and errors.min() > 0:
        axes.set_yscale("log")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel(f"share of {picture.unit} removed")
    axes.set_ylabel(f"{picture.objective.upper()} to the dense model's samples")
    axes.set_title("Pareto front", loc="left", color=_INK, fontweight="bold")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)


def _draw_stages(figure: Figure, axes: Axes, picture: FrontPicture) -> None:
    shares = np.array(picture.by_stage).T  # [stage, point]
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    points = [removed for removed, _ in picture.front]
    shown = range(0, len(points), -(-len(points) // _MOST_TICKS))
    axes.set_xticks(shown, [f"{points[index]:.0%}" for index in shown])
    axes.set_yticks(range(len(shares)), [f"{stage} ({steps})" for stage, steps in enumerate(picture.executed)])
    axes.set_xlabel("points of the front, by share removed in all")
    axes.set_ylabel("stage, noisy to clean (its steps)", labelpad=8)
    axes.set_title(f"{picture.unit} removed in each stage", loc="left", color=_INK, fontweight="bold")
    axes.set_yticks(np.arange(len(shares) - 1) + 0.5, minor=True)
    axes.grid(which="minor", axis="y", color="white", linewidth=1)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, format=PercentFormatter(1, decimals=0), pad=0.02)
    bar.outline.set_visible(False)


def _label(space: GenomeSpace, index: int) -> str:
    gene = space.gene(index)
    kind = gene.kinds[0] if len(gene.kinds) == 1 else "both"
    if len(space.groups) == 1:
        return kind
    first = space.first_block(gene.group)
    last = first + space.groups[gene.group] - 1
    return f"{first if first == last else f'{first}-{last}'} {kind}"
