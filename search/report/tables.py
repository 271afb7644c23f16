"""The report's tables: figures as the files give them, beside how a person reads them."""

from collections.abc import Sequence
from dataclasses import dataclass

from diffes.pages.tables import Cell, Table, count, number, share
from diffes.pareto import ParetoFront
from search.options import CostName
from search.report.documents import FrontLog, Log, StageCost
from search.report.layout import HALVES, Layout
from search.report.samples import Samples
from search.state import SearchState


@dataclass(frozen=True)
class Unit:
    """How a cost is read: `per` of the file's units make one of `name`."""

    name: str
    per: float


UNITS: dict[CostName, Unit] = {
    "macs": Unit("GMACs", 1e9),
    "latency": Unit("ms", 1e6),
    "weights": Unit("MiB of weights read", 2**20),
}


def cost_table(log: Log) -> Table:
    """MACs of every stage, dense and kept, and the budget's own unit where it is another."""
    other = UNITS[log.options.cost] if log.options.cost != "macs" else None
    headings = ["stage", "timesteps", "steps", "dense GMACs", "kept GMACs", "share kept"]
    headings += [f"dense {other.name}", f"kept {other.name}", "share kept"] if other else []
    rows = [
        [count(index), Cell(f"{stage.high}–{stage.low}"), count(stage.steps), *_costs(stage, other)]
        for index, stage in enumerate(log.stages)
    ]
    total = StageCost(
        high=log.stages[0].high,
        low=log.stages[-1].low,
        **{name: sum(getattr(s, name) for s in log.stages) for name in _SUMMED},
    )
    caption = "What every stage costs one row of one image, all its steps"
    last = [Cell("all"), Cell(f"{total.high}–{total.low}"), count(total.steps), *_costs(total, other)]
    return Table(caption, headings, rows, last)


_SUMMED = ("steps", "dense_macs", "macs", "dense_cost", "cost")


def _costs(stage: StageCost, other: Unit | None) -> list[Cell]:
    pairs = [(stage.dense_macs, stage.macs, UNITS["macs"])]
    if other:
        pairs.append((stage.dense_cost, stage.cost, other))
    cells = []
    for dense, kept, unit in pairs:
        cells += [Cell(f"{value / unit.per:.3g}", value) for value in (dense, kept)]
        cells.append(share(kept / dense) if dense else Cell("runs no step"))
    return cells


def levels_table(genome: Sequence[int], layout: Layout) -> Table:
    """The share kept of every run of blocks, half by half, in every stage."""
    rows = []
    for kind, name in HALVES.items():
        for row, kept in zip(layout.rows, layout.kept(genome, kind), strict=True):
            shares = [_kept(value, steps) for value, steps in zip(kept.tolist(), layout.executed, strict=True)]
            rows.append([Cell(f"{row}, {name}"), *shares])
    return Table("Share kept, by stage", ["", *(f"stage {i}" for i in range(layout.stages))], rows)


def _kept(value: float, steps: int) -> Cell:
    if steps == 0:
        return Cell("no step")
    return Cell("skipped", 0.0) if value == 0 else Cell(f"{100 * value:.3g}\u00a0%", value)


def phases_table(state: SearchState, dense_macs: int | None) -> Table:
    """Seconds and denoiser evaluations of every phase; without `dense_macs`, MACs instead of evaluations."""
    per, heading = (dense_macs, "denoiser evaluations") if dense_macs else (10**9, "GMACs")
    phases = list(dict.fromkeys([*state.seconds, *state.evaluations]))
    work = {name: state.evaluations.get(name, 0) / per for name in phases}
    rows = [[Cell(name), _seconds(state.seconds.get(name)), number(work[name], 4)] for name in phases]
    total = [Cell("all"), _seconds(sum(state.seconds.values())), number(sum(work.values()), 4)]
    return Table("What the search spent", ["phase", "seconds", heading], rows, total)


def _seconds(value: float | None) -> Cell:
    return Cell("–") if value is None else Cell(f"{value:.1f}", value)


def generations_table(state: SearchState) -> Table:
    """The evolution, generation by generation."""
    headings = ["generation", "schedules seen", "evaluations so far", "best objective", "mean", "seconds so far"]
    rows = [
        [
            *(count(g.number), count(g.schedules), number(g.evaluations, 4)),
            *(number(g.best), number(g.mean), _seconds(g.seconds)),
        ]
        for g in state.generations
    ]
    return Table("The evolution", headings, rows)


def finalists_table(log: Log) -> Table:
    """The schedules that met held-out noise, and the references."""
    known = {log.chosen: "chosen"}
    references = {"uniform": log.uniform} | ({"knapsack": log.knapsack} if log.knapsack else {})
    for name, reference in references.items():
        known[reference.genome] = f"{known[reference.genome]}, {name}" if reference.genome in known else name
    listed = [*log.finalists]
    listed += [r for r in references.values() if r.genome not in {f.genome for f in listed}]
    rows = [
        [Cell(known.get(r.genome, "finalist")), share(r.removed), number(r.objective), number(r.held_out)]
        for r in sorted(listed, key=lambda r: float("inf") if r.held_out is None else r.held_out)
    ]
    headings = ["schedule", "removed", f"{log.options.objective}, search probes", "held-out noise"]
    return Table("On the search's probes and on noise it never saw", headings, rows)


def front_table(pareto: ParetoFront, objective: str) -> Table:
    """The front's points and the uniform schedules, by what they remove."""
    named = [*(("front", p) for p in pareto.points), *(("uniform", p) for p in pareto.uniform)]
    rows = [
        [
            Cell(name),
            Cell(f"{100 * p.removed:.2f}\u00a0%", p.removed),
            count(p.cost),
            number(p.objective),
            number(p.held_out),
        ]
        for name, p in sorted(named, key=lambda pair: (pair[1].removed, pair[0]))
    ]
    unit = f"{pareto.unit} of one row's trajectory"
    headings = ["schedule", "removed", f"cost ({unit})", f"{objective}, search probes", "held-out noise"]
    return Table("Points of the front, and uniform schedules", headings, rows)


def front_generations_table(log: FrontLog) -> Table:
    """The evolution of a front, generation by generation."""
    headings = ["generation", "schedules seen", "evaluations so far", "points", "typical error", "seconds so far"]
    rows = [
        [
            *(count(g.number), count(g.schedules), number(g.evaluations, 4)),
            *(count(g.points), number(g.typical_error), _seconds(g.seconds)),
        ]
        for g in log.generations
    ]
    return Table("The evolution", headings, rows)


def samples_table(samples: Samples) -> Table:
    """How far every image is from the dense model's."""
    names = [name for name in samples.images if name != "dense"]
    found = [samples.differences(name) for name in names]
    headings = ["label", "seed", *(f"{name} {measure}" for name in names for measure in ("MSE", "SSIM"))]
    rows = [
        [Cell(label), count(seed), *(cell for d in found for cell in (number(d[i].mse), number(d[i].ssim)))]
        for i, (label, seed) in enumerate(zip(samples.labels, samples.seeds, strict=True))
    ]
    means: list[Cell] = []
    for each in found:
        similar = [d.ssim for d in each if d.ssim is not None]
        means.append(number(sum(d.mse for d in each) / len(each)))
        means.append(number(sum(similar) / len(similar) if similar else None))
    return Table("Images beside the dense model's, same noise", headings, rows, [Cell("mean"), Cell(""), *means])
