"""The parts of a report that are a front's own."""

from math import floor

from diffes.pages.sections import Figure, Section
from diffes.pareto import ParetoFront, ParetoPoint
from search.report.documents import FrontLog
from search.report.figures.convergence import Convergence, draw_convergence
from search.report.figures.front import FrontPlot, draw_front
from search.report.record import Front, Record
from search.report.sections import spent_before
from search.report.tables import front_generations_table, front_table

_WHEN = "A front is judged on held-out noise when its search ends; this one has not ended."


def front(record: Record) -> Section:
    """Objective against cost over the range of budgets, and how to export a point."""
    title, found = "Pareto front", record.found
    if not isinstance(found, Front):
        return Section("front", title, missing=_WHEN)
    pareto, objective = found.pareto, record.options.objective
    executed = found.log.space.executed_steps
    plot = FrontPlot(
        front=[(point.removed, point.held_out) for point in pareto.points if point.held_out is not None],
        uniform=[(point.removed, point.held_out) for point in pareto.uniform if point.held_out is not None],
        judged=found.log.judged,
        objective=objective,
        unit=pareto.unit,
        by_stage=[point.by_stage for point in found.log.front],
        executed=executed,
    )
    alt = (
        f"Left, {objective} against the share of {pareto.unit} removed: {len(pareto.points)} points of the front,"
        f" {len(pareto.uniform)} uniform schedules, every schedule judged. Right, a heat map of what every stage of"
        " every point removes. The table below has the figures."
    )
    text = (
        "No point is both dearer and worse than another, on noise that no point was chosen on. A grey point is a"
        " schedule on the search's own probes. Any point can be exported, by the share it removes at least:"
    )
    share = _named_by(pareto, pareto.points[found.middle])
    command = f"diffes export --schedule {record.folder.name}/pareto.json@{share} --out BUNDLE"
    figure = Figure("pareto.png", draw_front(plot), alt, text)
    return Section("front", title, figures=[figure], tables=[front_table(pareto, objective)], commands=[command])


def _named_by(pareto: ParetoFront, point: ParetoPoint) -> str:
    """The share of fewest decimals, rounded down, whose point this is."""
    for digits in range(2, 15):
        share = floor(point.removed * 10**digits) / 10**digits
        if share >= pareto.shares[0] and pareto.at(share) == point:
            return f"{share:g}" if digits < 6 else str(share)
    return repr(point.removed)


def convergence(record: Record) -> Section:
    """The front's typical error against denoiser evaluations."""
    title, found = "Convergence", record.found
    if not isinstance(found, Front):
        return Section("convergence", title, missing=_WHEN)
    log, objective = found.log, record.options.objective
    best = [(g.evaluations, g.typical_error) for g in log.generations if g.typical_error is not None]
    if not log.generations:
        return Section("convergence", title, missing="The time limit came before the first generation was finished.")
    folded = [front_generations_table(log)]
    if not best:
        why = f"No generation's front spans the range with positive {objective}, so it has no typical error."
        return Section("convergence", title, missing=why, folded=folded)
    data = Convergence(
        objective=objective,
        best=best,
        mean=[],
        before=spent_before(record),
        references={},
        title="Typical error of the front against denoising spent",
    )
    figure = Figure("convergence.png", draw_convergence(data), _alt(log), _CONVERGENCE)
    return Section("convergence", title, figures=[figure], folded=folded)


_CONVERGENCE = (
    "The typical error is the geometric mean, over the shares asked for, of the least objective on the search's probes"
    " that saves so much. One evaluation is one row of one step of the dense model; shaded bands are what was spent"
    " before the evolution."
)


def _alt(log: FrontLog) -> str:
    errors = [g.typical_error for g in log.generations if g.typical_error is not None]
    return f"Line plot: the front's typical error by denoiser evaluations, from {errors[0]:.3g} to {errors[-1]:.3g}."
