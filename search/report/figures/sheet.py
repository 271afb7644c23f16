"""Samples from the same noise: a row of images for each schedule, a column for each label."""

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from diffes.images import to_image
from search.report.figures.style import DENSE, INK, SEARCHED, UNIFORM, new_figure, to_png

_SIDE = 1.05  # inches of an image
_COLOURS = {"dense": DENSE, "uniform": UNIFORM, "searched": SEARCHED}


def draw_sheet(rows: Mapping[str, Tensor], columns: Sequence[str], notes: Mapping[str, Sequence[str]]) -> bytes:
    """Images [N, 3, H, W] in [-1, 1] by schedule, in the order of `columns`; `notes` stand under images. A PNG."""
    figure = new_figure(_SIDE * len(columns) + 1.0, (_SIDE + 0.32) * len(rows) + 0.3)
    grid = figure.subplots(len(rows), len(columns), squeeze=False)
    for line, (name, images) in zip(grid, rows.items(), strict=True):
        for column, (axes, image) in enumerate(zip(line, images, strict=True)):
            axes.imshow(np.asarray(to_image(image)), interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
            if name in notes:
                axes.set_xlabel(notes[name][column], fontsize=7.5, color=INK, labelpad=2)
        line[0].set_ylabel(name, fontsize=10, color=_COLOURS.get(name, INK), fontweight="bold")
    for axes, column in zip(grid[0], columns, strict=True):
        axes.set_title(column, fontsize=9, color=INK, pad=3)
    return to_png(figure)
