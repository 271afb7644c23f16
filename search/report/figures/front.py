"""What is lost against what is saved: searched schedules beside uniform ones."""

from collections.abc import Sequence

from search.report.figures.style import FAINT, INK, SEARCHED, UNIFORM, dress, logarithmic, new_figure, to_png

Points = Sequence[tuple[float, float]]  # (share removed, objective), in order of the share


def draw_front(searched: Points, uniform: Points, objective: str, unit: str) -> bytes:
    """A PNG of at least one point."""
    figure = new_figure(7.5, 4.4)
    axes = figure.subplots()
    for points, name, colour, marker in ((searched, "searched", SEARCHED, "o"), (uniform, "uniform", UNIFORM, "s")):
        if points:
            x, y = zip(*sorted(points), strict=True)
            axes.plot([100 * share for share in x], y, marker=marker, color=colour, linewidth=1.8, label=name)
    logarithmic(axes, [y for _, y in (*searched, *uniform)])
    dress(axes, "Pareto front", f"{unit} removed (%)", f"{objective} to dense, held-out noise")
    axes.grid(color=FAINT, linewidth=0.8)
    axes.legend(frameon=False, fontsize=9, labelcolor=INK)
    return to_png(figure)
