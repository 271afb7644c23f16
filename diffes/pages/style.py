"""One look for all figures, and their way to PNG.

Hues are Okabe and Ito's, which colour-blind readers tell apart; heat maps run from light to dark in one hue.
"""

from collections.abc import Sequence
from io import BytesIO
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

INK, MUTED, FAINT = "#1f2933", "#66727f", "#d9dee3"
BLUE, VERMILION, GREEN = "#0072b2", "#d55e00", "#009e73"
ORANGE, SKY, PURPLE = "#e69f00", "#56b4e9", "#cc79a7"

DOTS_PER_INCH = 150
_TEXT = 10  # points
_FEW_TICKS = 8  # a range this many times its least value has room for numbers between powers of ten


def new_figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """An empty figure, in inches; without a layout its axes stay where they are put."""
    return Figure(figsize=(width, height), layout=layout, facecolor="white")


def dress(axes: Axes, title: str, x: str, y: str) -> None:
    """Title, labels and a quiet frame."""
    axes.set_title(title, loc="left", color=INK, fontsize=_TEXT + 1, fontweight="bold")
    axes.set_xlabel(x, color=INK, fontsize=_TEXT)
    axes.set_ylabel(y, color=INK, fontsize=_TEXT)
    axes.tick_params(colors=INK, labelsize=_TEXT - 1)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)


def logarithmic(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic y axis with plain numbers, where all values are positive."""
    if not values or min(values) <= 0:
        return
    low, high = min(values), max(values)
    axes.set_yscale("log")
    margin = max((high / low) ** 0.18, 1.25)
    axes.set_ylim(low / margin, high * margin)
    axes.yaxis.set_major_formatter(_plain)
    axes.yaxis.set_minor_formatter(_plain if high < _FEW_TICKS * low else NullFormatter())
    axes.tick_params(which="minor", labelsize=_TEXT - 2, labelcolor=MUTED)


def _plain(value: float, _position: float) -> str:
    return f"{value:.3g}"


def to_png(figure: Figure) -> bytes:
    """The figure as PNG; equal figures give equal bytes."""
    buffer = BytesIO()
    figure.savefig(buffer, dpi=DOTS_PER_INCH, format="png", metadata={"Software": None})
    return buffer.getvalue()
