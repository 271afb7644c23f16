"""Samples from the same noise: a row of images for each schedule, a column for each label."""

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from diffes.images import to_image
from diffes.pages.style import INK, new_figure, to_png
from search.report.figures.colours import DENSE, SEARCHED, UNIFORM

_INCHES = 0.92  # of an image and the gap beside it
_GAP, _NOTE, _HEAD, _NAME = 0.06, 0.32, 0.22, 0.9  # in images: beside one, below one, above all, left of all
_COLOURS = {"dense": DENSE, "uniform": UNIFORM, "searched": SEARCHED}


def draw_sheet(rows: Mapping[str, Tensor], columns: Sequence[str], notes: Mapping[str, Sequence[str]]) -> bytes:
    """Images [N, 3, H, W] in [-1, 1] by schedule, in the order of `columns`; `notes` stand under images. A PNG."""
    bottoms = np.cumsum([_HEAD, *(1 + (_NOTE if name in notes else 2 * _GAP) for name in rows)])
    width, height = len(columns) * (1 + _GAP) + _NAME, float(bottoms[-1])
    figure = new_figure(_INCHES * width, _INCHES * height, layout=None)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    for column, label in enumerate(columns):
        middle = _NAME + column * (1 + _GAP) + 0.5
        axes.text(middle, _HEAD / 2, label, ha="center", va="center", fontsize=9, color=INK)
    for top, (name, images) in zip(bottoms.tolist(), rows.items(), strict=False):
        colour = _COLOURS.get(name, INK)
        axes.text(0.04, top + 0.5, name, ha="left", va="center", fontsize=10, color=colour, fontweight="bold")
        for column, image in enumerate(images):
            left = _NAME + column * (1 + _GAP)
            extent = (left, left + 1, top + 1, top)
            axes.imshow(np.asarray(to_image(image)), extent=extent, interpolation="nearest", aspect="auto")
            if name in notes:
                axes.text(left + 0.5, top + 1.02, notes[name][column], ha="center", va="top", fontsize=7, color=INK)
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    return to_png(figure)
