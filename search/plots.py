"""The search in one picture: convergence beside the schedule's heat map."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from diffes.files import atomic_path
from search.genome import Genome, GenomeSpace

_MOST_LABELLED = 12  # rows whose cells have room for a number
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


def save_plot(picture: Picture, path: Path) -> None:
    """Write a PNG, whole or not at all."""
    figure = Figure(figsize=(11, 4.2), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
    _draw_convergence(left, picture)
    _draw_schedule(right, picture)
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


def _label(space: GenomeSpace, index: int) -> str:
    gene = space.gene(index)
    kind = gene.kinds[0] if len(gene.kinds) == 1 else "both"
    if len(space.groups) == 1:
        return kind
    first = space.first_block(gene.group)
    last = first + space.groups[gene.group] - 1
    return f"{first if first == last else f'{first}-{last}'} {kind}"
