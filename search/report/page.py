"""`report.html` and its PNGs, from the files of a search folder: at any time, on any machine, always the same."""

from pathlib import Path

from diffes.checkpoint import Checkpoint
from diffes.files import atomic_path, write_text_atomically
from diffes.pages.page import Page, render
from diffes.pages.sections import Section
from diffes.pages.tables import Table, plain_table
from search.options import SearchOptions
from search.report import front_sections, sections
from search.report.headline import cost_name, headline
from search.report.record import Answer, Record
from search.report.samples import Progress, Samples, draw_samples
from search.report.tables import phases_table

REPORT_FILE = "report.html"
FIGURES = ("convergence.png", "levels.png", "errors.png", "pareto.png", "samples.png")


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
    write_text_atomically(path, render(_page(record, parts)))
    return path


def _samples(
    record: Record, checkpoint: Checkpoint | None, images: int, device: str, why: str, progress: Progress
) -> Samples | str:
    if record.found is None:
        return "Samples need a finished search."
    if checkpoint is None:
        return f"{why} Samples are made by the model: `diffes report {record.folder.name} MODEL`."
    if not record.calibration.exists():
        return f"{record.calibration.name} is not in this folder, and pruned images cannot be made without it."
    if images == 0:
        return f"No images were asked for; `diffes report {record.folder.name}` makes them."
    return draw_samples(record, checkpoint, images, device, progress)


def _sections(record: Record, drawn: Samples | str) -> list[Section]:
    if record.options.front:
        return [
            front_sections.front(record),
            front_sections.convergence(record),
            sections.levels(record),
            sections.samples(drawn, record.removed),
            sections.errors(record),
        ]
    return [
        sections.convergence(record),
        sections.levels(record),
        sections.samples(drawn, record.removed),
        sections.cost(record),
        sections.comparison(record),
        sections.errors(record),
    ]


def _write_figures(parts: list[Section], folder: Path) -> None:
    """The figures beside the page; one that an earlier report left and this one lacks goes."""
    made = {figure.file: figure.png for part in parts for figure in part.figures}
    for name in FIGURES:
        if name not in made:
            (folder / name).unlink(missing_ok=True)
            continue
        with atomic_path(folder / name) as temporary:
            temporary.write_bytes(made[name])


def _page(record: Record, parts: list[Section]) -> Page:
    finished = record.found is not None
    what = "a Pareto front of pruning schedules" if record.options.front else "a pruning schedule"
    return Page(
        title="Search report" if finished else "Search report (not finished)",
        heading=f"Search of {what}" if finished else f"Search of {what}, not finished",
        facts=_asked(record),
        result=headline(record),
        sections=parts,
        provenance=_provenance(record),
        state="good" if finished else "open",
    )


def _asked(record: Record) -> list[tuple[str, str]]:
    options = record.options
    sampler = record.sampler.class_name if record.sampler else options.sampler or "the model's own sampler"
    levels = "" if record.layout is None else f", levels 0–{record.layout.parts}"
    shares = " to ".join(f"{100 * share:g}\u00a0%" for share in dict.fromkeys(options.shares))
    return [
        ("Model", f"{record.state.model.class_name} {record.state.model.fingerprint[:16]}"),
        ("Sampler", f"{sampler}, {options.steps} steps, guidance {options.guidance:g}"),
        ("Budget", f"remove {shares} of the {cost_name(options)}"),
        ("Method", "evolution" if options.method == "evolution" else f"{options.method}, a baseline"),
        ("Space", f"{options.stages} stages, genes by {options.genes}, {options.widths} widths{levels}"),
        ("Objective", f"{options.objective} to dense, {options.probes} images"),
        ("Compensation", _compensation(options)),
        ("Ended by", _ended(record)),
    ]


def _compensation(options: SearchOptions) -> str:
    limit = "" if options.memory is None else f", weights at most {options.memory:g} × dense's"
    return f"{options.compensation}{limit}"


def _ended(record: Record) -> str:
    if record.found is None:
        return "not finished"
    again = "reproducible" if record.found.log.reproducible else "another run may find another schedule"
    return f"{record.found.log.stopped}; {again}"


def _provenance(record: Record) -> list[Table]:
    tables = [phases_table(record.state, record.dense_macs)]
    made: dict[str, object] = {"code digest": record.state.code, "seed": record.options.seed}
    made["model fingerprint"] = record.state.model.fingerprint
    if record.found is not None:
        log = record.found.log
        made |= {"schedules seen": log.schedules["seen"], "judged on all probes": log.schedules["judged"]}
        made["rollouts that failed"] = log.excluded
        made |= {**log.versions, **log.machine}
        first = record.found.schedule if isinstance(record.found, Answer) else record.found.pareto.points[0].schedule
        if "ordering" in first.provenance:
            made["ordering"] = first.provenance["ordering"]
    tables.append(plain_table("Made with", made))
    tables.append(plain_table("Options", record.options.model_dump()))
    return tables
