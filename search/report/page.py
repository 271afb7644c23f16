"""`report.html` and its PNGs, from the files of a search folder: at any time, on any machine, always the same."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from diffes.checkpoint import Checkpoint
from diffes.files import atomic_path, write_text_atomically
from search.report import sections
from search.report.record import Record
from search.report.samples import Progress, Samples, draw_samples
from search.report.sections import Section
from search.report.tables import Cell, Table, number, phases_table, plain_table, share

REPORT_FILE = "report.html"
FIGURES = ("convergence.png", "levels.png", "errors.png", "pareto.png", "samples.png")


@dataclass(frozen=True)
class Headline:
    """What was found, in words with figures between them."""

    parts: tuple[str | Cell, ...]


def make_report(
    folder: Path,
    checkpoint: Checkpoint | None,
    *,
    images: int = 10,
    device: str = "cpu",
    why_no_model: str = "No model folder was given.",
    progress: Progress = lambda _: None,
) -> Path:
    """Write `report.html` and the figures it holds, as PNGs, into a search folder; returns the page's path.

    The samples need the model: without a `checkpoint` the page says `why_no_model`. At most `images` of them, 0 for
    none. SearchError for a folder without a search or with files of several, ScheduleError for another model.
    """
    record = Record.load(folder)
    drawn = _samples(record, checkpoint, images, device, why_no_model, progress)
    parts = _sections(record, drawn)
    _write_figures(parts, folder)
    path = folder / REPORT_FILE
    write_text_atomically(path, _render(record, parts))
    return path


def _samples(
    record: Record, checkpoint: Checkpoint | None, images: int, device: str, why: str, progress: Progress
) -> Samples | str:
    if record.log is None:
        return "Samples need a finished search."
    if checkpoint is None:
        return f"{why} Samples are made by the model: `diffes report {record.folder.name} MODEL`."
    if not record.calibration.exists():
        return f"{record.calibration.name} is not in this folder, and pruned images cannot be made without it."
    if images == 0:
        return f"No images were asked for; `diffes report {record.folder.name}` makes them."
    return draw_samples(record, checkpoint, images, device, progress)


def _sections(record: Record, drawn: Samples | str) -> list[Section]:
    removed = {}
    if record.log is not None:
        removed = {"uniform": record.log.uniform.removed, "searched": record.log.budget.achieved}
    return [
        sections.convergence(record),
        sections.levels(record),
        sections.samples(drawn, removed),
        sections.cost(record),
        sections.comparison(record),
        sections.front(record.pareto, record.options.objective),
        sections.errors(record),
    ]


def _write_figures(parts: list[Section], folder: Path) -> None:
    """The figures beside the page; one that an earlier report left and this one lacks goes."""
    made = {part.figure.file: part.figure.png for part in parts if part.figure}
    for name in FIGURES:
        if name not in made:
            (folder / name).unlink(missing_ok=True)
            continue
        with atomic_path(folder / name) as temporary:
            temporary.write_bytes(made[name])


def _render(record: Record, parts: list[Section]) -> str:
    environment = Environment(
        loader=PackageLoader("search.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    context: dict[str, Any] = {
        "asked": _asked(record),
        "finished": record.log is not None,
        "headline": headline(record).parts,
        "sections": parts,
        "provenance": _provenance(record),
    }
    return environment.get_template("report.html").render(context) + "\n"


def headline(record: Record) -> Headline:
    """The result in one sentence, or how far an interrupted search came."""
    objective, log = record.options.objective, record.log
    if log is None:
        done = max(len(record.state.generations) - 1, 0)
        said = f"{done} of {record.options.generations} generations are done, {len(record.state.table)} table entries."
        return Headline((f"This search is not finished: {said} Go on with it by `diffes search --resume`.",))
    ours, uniform, knapsack = log.winner.held_out, log.uniform.held_out, log.knapsack.held_out
    parts: list[str | Cell] = [
        *(share(log.budget.achieved), f" of the {_cost_name(record)} removed; on noise the search never saw, "),
        *(f"{objective} to the dense model is ", number(ours)),
    ]
    if ours is not None and uniform:
        parts += [": ", number(ours / uniform), " × the uniform schedule's ", number(uniform)]
    else:
        parts.append("; the uniform schedule gave no finite samples")
    parts += _beside_knapsack(ours, knapsack, chosen=log.chosen == log.knapsack.genome)
    return Headline((*parts, "."))


def _beside_knapsack(ours: float | None, knapsack: float | None, *, chosen: bool) -> list[str | Cell]:
    if chosen:
        return [". It is the knapsack's own answer to the error table: none of the finalists did better on that noise"]
    if knapsack is None:
        return [". The knapsack's own answer was not among the finalists, so it has no held-out figure"]
    if ours is None or knapsack == 0:
        return [", and the knapsack's ", number(knapsack)]
    return [", and ", number(ours / knapsack), " × that of the knapsack alone, ", number(knapsack)]


def _cost_name(record: Record) -> str:
    return {"macs": "MACs", "latency": "measured latency", "weights": "weight bytes read"}[record.options.cost]


def _asked(record: Record) -> list[tuple[str, str]]:
    options, schedule = record.options, record.schedule
    sampler = schedule.sampler.class_name if schedule else options.sampler or "the model's own sampler"
    levels = "" if record.layout is None else f", levels 0–{record.layout.parts}"
    return [
        ("Model", f"{record.state.model.class_name} {record.state.model.fingerprint[:16]}"),
        ("Sampler", f"{sampler}, {options.steps} steps, guidance {options.guidance:g}"),
        ("Budget", f"remove {100 * options.share:g}\u00a0% of the {_cost_name(record)}"),
        ("Space", f"{options.stages} stages, genes by {options.genes}, {options.widths} widths{levels}"),
        ("Objective", f"{options.objective} to dense, {options.probes} images"),
        ("Compensation", options.compensation),
        ("Ended by", _ended(record)),
    ]


def _ended(record: Record) -> str:
    if record.log is None:
        return "not finished"
    again = "reproducible" if record.log.reproducible else "another run may find another schedule"
    return f"{record.log.stopped}; {again}"


def _provenance(record: Record) -> list[Table]:
    tables = [phases_table(record.state, record.dense_macs)]
    made: dict[str, object] = {"code digest": record.state.code, "seed": record.options.seed}
    made["model fingerprint"] = record.state.model.fingerprint
    if record.log is not None:
        made |= {"schedules seen": record.log.schedules["seen"], "judged on all probes": record.log.schedules["judged"]}
        made["rollouts that failed"] = record.log.excluded
        made |= {**record.log.versions, **record.log.machine}
    if record.schedule is not None:
        made |= {name: record.schedule.provenance[name] for name in ("ordering",) if name in record.schedule.provenance}
    tables.append(plain_table("Made with", made))
    tables.append(plain_table("Options", record.options.model_dump()))
    return tables
