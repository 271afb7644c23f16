"""Heat maps over stages and blocks, one panel for heads and one for MLP channels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from diffes.pages.style import INK, MUTED, dress, new_figure, to_png

_CELL_WIDTH, _CELL_HEIGHT, _LEAST_WIDTH = 0.42, 0.32, 9.0  # inches
_MOST_COLUMNS = 14  # a panel of more stages has no room for numbers
_DARK = 0.58  # of the colour scale: numbers on it are white


@dataclass(frozen=True)
class Panel:
    """One half's values [rows, stages]. nan: a failure; `marked` [rows, stages] are hatched and named `mark`."""

    name: str
    values: NDArray[np.float64]
    marked: NDArray[np.bool_]


@dataclass(frozen=True)
class HeatMaps:
    """Panels side by side over the same rows, and the steps run in every stage."""

    title: str
    panels: Sequence[Panel]
    rows: Sequence[str]
    executed: Sequence[int]
    scale: str  # label of the colour bar


def draw_shares(maps: HeatMaps, mark: str) -> bytes:
    """Shares in percent; the marked ones are hatched. A PNG."""
    return _draw(maps, "Blues", Normalize(0, 100), lambda value: f"{value:.3g}", mark)


def draw_errors(maps: HeatMaps) -> bytes:
    """Errors on a logarithmic scale, failures crossed. A PNG."""
    values = np.concatenate([panel.values.ravel() for panel in maps.panels])
    positive = values[np.isfinite(values) & (values > 0)]
    low, high = (positive.min(), positive.max()) if len(positive) else (1e-12, 1.0)
    norm = LogNorm(low, max(high, low * 10))
    return _draw(maps, "Oranges", norm, _short, "")


def _short(value: float) -> str:
    mantissa, exponent = f"{value:.0e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def _draw(maps: HeatMaps, colours: str, norm: Normalize, label: Callable[[float], str], mark: str) -> bytes:
    stages, rows = len(maps.executed), len(maps.rows)
    width = max(_CELL_WIDTH * stages * len(maps.panels) + 2.6, _LEAST_WIDTH)
    figure = new_figure(width, max(_CELL_HEIGHT * rows + 1.75, 2.3))
    figure.suptitle(maps.title, x=0.01, ha="left", color=INK, fontsize=11, fontweight="bold")
    axes = figure.subplots(1, len(maps.panels), sharey=True, squeeze=False)[0]
    for panel, ax in zip(maps.panels, axes, strict=True):
        shown = np.ma.masked_invalid(np.where(_idle(panel, maps.executed), np.nan, panel.values))
        image = ax.imshow(shown, cmap=colours, norm=norm, aspect="auto")
        _frame(ax, panel.name, maps)
        _fill(ax, panel, maps, lambda value: float(norm(value)) > _DARK, label, mark)
    _bar(figure, image, axes, maps.scale)
    return to_png(figure)


def _bar(figure: Figure, image: AxesImage, axes: Sequence[Axes], label: str) -> None:
    bar = figure.colorbar(image, ax=list(axes), pad=0.015, fraction=0.05, aspect=18)
    bar.set_label(label, color=INK, fontsize=9)
    bar.ax.tick_params(labelsize=8, colors=INK)
    bar.outline.set_visible(False)


def _idle(panel: Panel, executed: Sequence[int]) -> NDArray[np.bool_]:
    return np.broadcast_to(np.array(executed) == 0, panel.values.shape)


def _frame(ax: Axes, name: str, maps: HeatMaps) -> None:
    stages, rows = len(maps.executed), len(maps.rows)
    dress(ax, "", "stage, noisy → clean", "")
    ax.set_title(name, color=INK, fontsize=10)
    every = ceil(stages / _MOST_COLUMNS)
    ax.set_xticks(range(0, stages, every), [str(stage) for stage in range(0, stages, every)])
    ax.set_yticks(range(rows), maps.rows)
    ax.set_xticks(np.arange(stages + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(rows + 1) - 0.5, minor=True)
    ax.grid(which="minor", color="white", linewidth=1.5)
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_visible(False)


def _fill(
    ax: Axes, panel: Panel, maps: HeatMaps, dark: Callable[[float], bool], label: Callable[[float], str], mark: str
) -> None:
    """Numbers where they fit; hatching for what is marked, dashes where no step runs, crosses where it failed."""
    roomy = len(maps.executed) <= _MOST_COLUMNS
    for row, stage in np.ndindex(panel.values.shape):
        value = float(panel.values[row, stage])
        if maps.executed[stage] == 0:
            text, colour = "–", MUTED
        elif not np.isfinite(value):
            text, colour = "×", INK
        elif panel.marked[row, stage]:
            corner = (stage - 0.46, row - 0.46)
            ax.add_patch(Rectangle(corner, 0.92, 0.92, facecolor="#f4f5f7", edgecolor=MUTED, hatch="////", linewidth=0))
            text, colour = mark, INK
        else:
            text, colour = label(value), "white" if dark(value) else INK
        if roomy or len(text) == 1:
            behind = {"facecolor": "#f4f5f7", "edgecolor": "none", "pad": 0.8} if text == mark and mark else None
            ax.text(stage, row, text, ha="center", va="center", color=colour, fontsize=7.5, bbox=behind)
