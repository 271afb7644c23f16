"""The parts of a report: each has what it shows, or says what is missing and why."""

from collections.abc import Mapping, Sequence

import numpy as np

from diffes.architectures.base import UnitKind
from diffes.pages.sections import Figure, Section
from search.error_table import middle_of
from search.report.documents import Log
from search.report.documents import Table as ErrorsFile
from search.report.figures.convergence import Convergence, draw_convergence
from search.report.figures.heatmaps import HeatMaps, Panel, draw_errors, draw_shares
from search.report.figures.sheet import draw_sheet
from search.report.layout import HALVES, Layout
from search.report.record import Front, Record
from search.report.samples import Samples
from search.report.tables import (
    cost_table,
    finalists_table,
    generations_table,
    levels_table,
    samples_table,
)

_UNMEASURED = "The error table is not measured yet."
_BEFORE = ("calibrate", "teacher", "table")  # phases that end before the evolution begins


def spent_before(record: Record) -> dict[str, float]:
    """Denoiser evaluations of the phases before the evolution."""
    dense, spent = record.dense_macs, record.state.evaluations
    return {name: spent[name] / dense for name in _BEFORE if dense and name in spent}


def convergence(record: Record) -> Section:
    """The best objective against denoiser evaluations, uniform and knapsack beside it."""
    state, log, title = record.state, record.log, "Convergence"
    generations = [g for g in state.generations if g.best is not None]
    if not generations and log is None:
        return Section("convergence", title, missing="No generation is finished yet, so there is nothing to plot.")
    before = spent_before(record)
    references = {} if log is None else _references(log)
    best = [(g.evaluations, g.best) for g in generations if g.best is not None]
    if log is not None:
        best = _from_knapsack_to_end(best, log, sum(before.values()))
    if not best and not references:
        return Section("convergence", title, missing="No schedule's objective is known.")
    mean = [(g.evaluations, g.mean) for g in generations if g.mean is not None]
    data = Convergence(record.options.objective, best, mean, before, references)
    alt = f"Line plot: best {record.options.objective} by denoiser evaluations; " + "; ".join(
        f"{name} {value:.3g}" for name, value in {"best": best[-1][1] if best else float("nan"), **references}.items()
    )
    about = _about_convergence(record, references)
    figure = Figure("convergence.png", draw_convergence(data), alt, about)
    folded = [generations_table(state)] if generations else []
    return Section("convergence", title, figures=[figure], folded=folded)


def _references(log: Log) -> dict[str, float]:
    known = {"uniform": log.uniform.objective, "knapsack": log.knapsack.objective if log.knapsack else None}
    return {name: value for name, value in known.items() if value is not None}


def _from_knapsack_to_end(best: Sequence[tuple[float, float]], log: Log, before: float) -> list[tuple[float, float]]:
    """The curve from the first schedule that an evolution judges to the last."""
    last = [r.objective for r in log.finalists if r.objective is not None]
    if not last or log.knapsack is None or log.knapsack.objective is None:
        return [*best]
    begun = [(before, log.knapsack.objective), *best]
    stop = before + log.evaluations.get("evolve", 0.0)
    return [*begun, (max(stop, begun[-1][0]), min(*last, begun[-1][1]))]


def _about_convergence(record: Record, references: Mapping[str, float]) -> str:
    log, tabulated = record.log, record.options.method == "evolution"
    text = "One evaluation is one row of one step of the dense model; shaded bands are what was spent before."
    if tabulated:
        text += " The evolution starts from the knapsack's answer to the error table."
    else:
        text += f" The method {record.options.method} measures no error table: no knapsack to compare with."
    if not record.state.generations:
        text += " The time limit came before the first generation was finished."
    if log is None:
        return f"{text} Objectives to compare with are written when a search ends: they are missing here."
    lacking = " and ".join(sorted({"uniform", *(("knapsack",) if tabulated else ())} - set(references)))
    return text + (
        f" No line for {lacking}: not judged on the search's probes, or its rollouts failed." if lacking else ""
    )


def levels(record: Record) -> Section:
    """Heat maps of the share kept."""
    genome, layout, title = record.best, record.layout, _levels_title(record)
    if layout is None or genome is None:
        return Section("levels", title, missing=_no_levels(record))
    panels = [_share_panel(genome, layout, kind) for kind in HALVES]
    maps = HeatMaps("Share kept (%)", panels, layout.rows, layout.executed, "%")
    skipped = sum(int(panel.marked.sum()) for panel in panels)
    text = (
        f"Stages run noisy to clean. Skipped halves (hatched): {skipped or 'none'}."
        " A stage without a step (–) costs and saves nothing."
    )
    alt = "Heat maps of the share of heads and of MLP channels kept, stages by blocks; the table below has the figures."
    figure = Figure("levels.png", draw_shares(maps, "skip"), alt, text)
    return Section("levels", title, figures=[figure], folded=[levels_table(genome, layout)])


def _levels_title(record: Record) -> str:
    title = "What every stage keeps"
    if isinstance(record.found, Front):
        return f"{title}, in the point that removes {100 * record.removed['searched']:.1f}\u00a0%"
    return title if record.found or record.options.front else f"{title}, in the best schedule so far"


def _no_levels(record: Record) -> str:
    if record.options.front:
        return "A point of a front is known when its search ends."
    if record.layout is None and record.options.method != "evolution":
        return "How levels are grouped is written when a search without an error table ends."
    why = "the error table is not measured" if record.layout is None else "no generation is finished"
    return f"No schedule yet: {why}."


def _share_panel(genome: Sequence[int], layout: Layout, kind: UnitKind) -> Panel:
    kept = layout.kept(genome, kind)
    return Panel(HALVES[kind], 100 * kept, kept == 0)


def errors(record: Record) -> Section:
    """Heat maps of the error table: by level where all blocks share one, else by run of blocks at one level."""
    table, layout, title = record.table, record.layout, "What one gene alone costs"
    if table is None or layout is None:
        baseline = record.options.method != "evolution"
        why = f"The method {record.options.method} measures no error table." if baseline else _UNMEASURED
        return Section("errors", title, missing=why)
    middle = middle_of(table.levels)
    if len(layout.groups) == 1:
        rows = [f"level {level} of {table.parts}" for level in range(1, len(next(iter(table.errors.values()))))]
        which = "at every level"
    else:
        rows, which = layout.rows, f"at level {middle} of {table.parts}"
    panels = [_error_panel(table, layout, kind, middle, len(rows)) for kind in HALVES]
    name = f"Error of one gene pruned alone, {which}"
    maps = HeatMaps(name, panels, rows, layout.executed, table.objective)
    measured = ", ".join(str(level) for level in table.levels)
    text = (
        f"{table.objective} of {table.images} images to dense, by {table.method}, when only one gene is pruned."
        f" Levels {measured} were to be measured, {len(table.measured)} entries were; the rest is interpolated."
        " A cross is a rollout that failed."
    )
    alt = f"Heat maps of the error table, {which}, stages across; {table.objective} on a logarithmic colour scale."
    return Section("errors", title, figures=[Figure("errors.png", draw_errors(maps), alt, text)])


def _error_panel(table: ErrorsFile, layout: Layout, kind: UnitKind, middle: int, rows: int) -> Panel:
    def value(row: int, stage: int) -> float:
        group, level = (0, row + 1) if len(layout.groups) == 1 else (row, middle)
        found = table.errors[layout.gene(stage, group, kind)][level]
        return np.nan if found is None else found

    values = np.array([[value(row, stage) for stage in range(layout.stages)] for row in range(rows)])
    return Panel(HALVES[kind], values, np.zeros(values.shape, dtype=np.bool_))


def cost(record: Record) -> Section:
    """What every stage costs."""
    if record.log is None:
        return Section("cost", "Cost by stage", missing="Costs are written when a search ends; this one has not ended.")
    text = "Guidance runs two rows an image. Shares are of the dense model's cost over the same steps."
    return Section("cost", "Cost by stage", text, tables=[cost_table(record.log)])


def samples(drawn: Samples | str, removed: dict[str, float]) -> Section:
    """The images, or why there are none."""
    if isinstance(drawn, str):
        return Section("samples", "Samples", missing=drawn)
    notes = {}
    for name in removed:
        found = drawn.differences(name)
        notes[name] = [_note(d.mse, d.ssim) for d in found]
    alt = f"Images of {', '.join(drawn.labels)} in rows: {', '.join(drawn.images)}, from the same noise."
    less = ", ".join(f"{name} removes {100 * share:.1f}\u00a0%" for name, share in removed.items())
    text = (
        f"The same noise in every column (seed = column number, from 0); {less}. Below an image: mean squared error"
        " of pixels in [-1, 1] and structural similarity, both to the dense image above it."
    )
    figure = Figure("samples.png", draw_sheet(drawn.images, drawn.labels, notes), alt, text)
    return Section("samples", "Samples", figures=[figure], folded=[samples_table(drawn)])


def comparison(record: Record) -> Section:
    """Every schedule that was compared at the end."""
    title = "Schedules compared"
    if record.log is None:
        return Section("comparison", title, missing="Schedules meet held-out noise when a search ends.")
    return Section("comparison", title, tables=[finalists_table(record.log)])


def _note(mse: float, ssim: float | None) -> str:
    return f"MSE {mse:.2g}" + ("" if ssim is None else f"\nSSIM {ssim:.3f}")
