"""The parts of the page: each shows one thing, or says why it cannot."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isclose

from diffes.pages.sections import Figure, Section
from diffes.pages.tables import Cell, Table, count, number, share
from loadtest.checks import Check
from loadtest.findings import Memory, Times
from loadtest.references import Comparison
from loadtest.report import figures
from loadtest.result import ContenderResult, Result, RunResult
from loadtest.rows import FATES, UNKNOWN
from loadtest.trial import Trial

_MILLI = 1e3


@dataclass(frozen=True)
class Shown:
    """The run whose course is shown, and everything that was kept of it."""

    contender: ContenderResult
    run: RunResult
    trial: Trial


def checks(found: Sequence[Check]) -> Section:
    """Everything that was asked of the test."""
    rows = [[Cell(c.name), Cell(c.asked), Cell(c.found), Cell("yes" if c.holds else "NO")] for c in found]
    return Section("checks", "Checks", tables=[Table("What had to hold", ["check", "asked", "found", "holds"], rows)])


def comparison(result: Result) -> Section:
    """All contenders side by side: at the highest rate each could bear, or at the one rate they all met."""
    searched = result.asked.search is not None
    first = result.contenders[0]
    headings = ["", "requests/s", f"times {first.name}", "p50, s", "p95, s", "p99, s", "goodput/s", "images/s"]
    headings += ["memory, MiB", "GPU, MiB", f"FD to {first.name}", "of images"]
    rows = [_contender_row(each, first, searched) for each in result.contenders]
    told = "the highest rate at which the SLO held, twice" if searched else "the rate that was offered"
    text = (
        f"Requests/s is {told}. FD is the Fréchet distance of the images answered with to {first.name}'s, made from the"
        " same noise. Few images make it larger."
    )
    return Section(
        "comparison", "Side by side", text, tables=[Table("On one machine, one after the other", headings, rows)]
    )


def rates(result: Result) -> Section:
    """Latency and goodput of all runs of a search, against the rate that was offered."""
    several = "each contender" if len(result.contenders) > 1 else "the service"
    drawn = [
        Figure(
            "rates.png",
            figures.latencies_over_rate(result.contenders, result.slo),
            f"Median and 99th percentile of latency over the offered rate, for {several}.",
            "Filled: the SLO held in that run. Latency counts from when a request was due; refused ones have none.",
        ),
        Figure(
            "goodput.png",
            figures.goodput_over_rate(result.contenders),
            f"Requests answered in time per second over the offered rate, for {several}.",
        ),
    ]
    return Section("rates", "Latency and goodput against rate", figures=drawn, folded=[_runs_table(result)])


def course(shown: Shown, slo: float) -> Section:
    """What every caller waited, and what became of the requests, over the time of one run."""
    rows, happened = shown.trial.rows, shown.trial.happened
    seconds = max(shown.trial.plan.seconds, *(row.due for row in rows), 0.0)
    dots = figures.latencies_over_time(rows, slo, happened)
    drawn = [
        Figure("latencies.png", dots, "Latency of every request over time."),
        Figure(
            "fates.png",
            figures.fates_over_time(rows, seconds, slo, happened),
            "Requests per second over time: answered, refused, failed, left; and those answered in time.",
        ),
    ]
    return Section(
        f"course-{shown.contender.name}",
        _title("Requests", shown),
        figures=drawn,
        tables=[_times(shown.run), *_fates(shown.run), *_happened(shown.run)],
    )


def inside(shown: Shown) -> Section:
    """Queue, batches and stages."""
    title = _title("Inside the service", shown)
    if all(sample.waiting is None for sample in shown.trial.samples):
        return Section(
            f"inside-{shown.contender.name}",
            title,
            missing="It has no /metrics of Diffes', so nothing is known of its inside.",
        )
    drawn = [
        Figure(
            "inside.png",
            figures.inside_over_time(shown.trial.samples, shown.trial.began, shown.trial.happened),
            "Requests waiting and images running over time.",
            "Grey: it did not answer.",
        )
    ]
    folded = []
    if shares := shown.run.findings.stages:
        caption = "A step that serves several stages counts for each."
        alt = "Share of the steps' time, and images in a step, by schedule and stage."
        drawn.append(Figure("stages.png", figures.stages(shares), alt, caption))
        folded.append(_stages(shown.run))
    return Section(f"inside-{shown.contender.name}", title, figures=drawn, folded=folded)


def memory(shown: Shown) -> Section:
    """What it takes of its machine's memory, and whether that grows."""
    title, found = _title("Memory", shown), shown.run.findings.memory
    if found is None:
        return Section(f"memory-{shown.contender.name}", title, missing="It does not say what memory it takes.")
    drawn = figures.memory_over_time(shown.trial.samples, shown.trial.began)
    return Section(
        f"memory-{shown.contender.name}",
        title,
        _growth(found),
        [Figure("memory.png", drawn, "Resident memory over time.")],
    )


def agreement(result: Result) -> Section:
    """Whether both sides tell the same."""
    rows = []
    for contender in result.contenders:
        for run in contender.runs:
            told = run.disagreements or ["they agree"]
            rows += [[Cell(run.folder), Cell(run.compared), Cell(each)] for each in told]
    text = (
        "What callers saw is laid beside what the service says, joined by what both call a request. A service that"
        " serves others, too, has counted their requests."
    )
    return Section(
        "agreement", "Do both sides agree?", text, tables=[Table("Of each run", ["run", "compared", "found"], rows)]
    )


def images(result: Result) -> Section:
    """Whether images are those that their seeds give."""
    compared = [(contender.name, contender.images) for contender in result.contenders if contender.images]
    if not compared:
        why = "Every request had a seed of its own; images are compared where `mix.seeds` is small."
        return Section("images", "Images", missing=why)
    headings = ["of", "images", "seeds", "off by at most, on average", "a pixel at most", "allowed", "wrong"]
    table = Table("Beside references, grey levels of 255", headings, [_compared(*each) for each in compared])
    wrong = [[Cell(name), Cell(told)] for name, found in compared for told in found.wrong]
    tables = [table, Table("Wrong images", ["of", "image"], wrong)] if wrong else [table]
    text = f"References are made by {compared[0][1].maker}. Images that shared steps with others are equal to rounding."
    return Section("images", "Images", text, tables=tables)


def _title(what: str, shown: Shown) -> str:
    rate = shown.run.rate
    return f"{what}: run {shown.run.folder}" + ("" if rate is None else f", {rate:.3g}/s")


def _happened(run: RunResult) -> list[Table]:
    rows = [[Cell(told)] for told in run.happened]
    return [Table("What went wrong on purpose", ["since the start"], rows)] if rows else []


def _times(run: RunResult) -> Table:
    found = run.findings
    named = (
        ("answer, since due", found.latency),
        ("first of a stream, since due", found.first),
        ("in the queue, as the service says", found.queue),
        ("outside the service: HTTP, PNG", found.outside),
        ("sent later than due", found.late),
    )
    rows = [[Cell(name), *_quantiles(times)] for name, times in named if times]
    return Table("Milliseconds, exact quantiles", ["", "p50", "p95", "p99", "most"], rows)


def _quantiles(times: Times) -> list[Cell]:
    return [number(value * _MILLI) for value in (times.p50, times.p95, times.p99, times.most)]


def _fates(run: RunResult) -> list[Table]:
    found = run.findings
    headings = ["requests", *FATES, UNKNOWN, "in time", "offered/s", "goodput/s", "images/s"]
    row = [count(found.requests), *(count(found.fates[fate]) for fate in (*FATES, UNKNOWN)), share(found.in_time)]
    row += [number(found.offered), number(found.goodput), number(found.images)]
    tables = [Table("What became of them", headings, [row])]
    if found.reasons:
        tables.append(Table("Why there was no answer", ["reason", "requests", "such as"], _reasons(found.reasons)))
    return tables


def _reasons(found: Mapping[str, int]) -> list[list[Cell]]:
    """By what stands before a colon: what follows is of one request, and would be a row for each."""
    many, shown = Counter[str](), dict[str, str]()
    for reason, times in found.items():
        kind, _, such = reason.partition(": ")
        many[kind] += times
        shown.setdefault(kind, such)
    return [[Cell(kind), count(times), Cell(shown[kind])] for kind, times in many.most_common()]


def best_run(contender: ContenderResult) -> RunResult:
    """The one at the highest rate that held; at the lowest of all, if none did."""
    held = [run for run in contender.runs if run.held]
    if contender.sustained is not None and contender.sustained.rate is not None:
        held = [run for run in held if run.rate is not None and isclose(run.rate, contender.sustained.rate)]
    return max(held or contender.runs, key=lambda run: run.findings.offered if held else -run.findings.offered)


def _contender_row(contender: ContenderResult, first: ContenderResult, searched: bool) -> list[Cell]:
    rates = [_rate(each, searched) for each in (contender, first)]
    found = best_run(contender).findings
    times = [number(rates[0] / rates[1], 3)] if rates[0] and rates[1] else [Cell("–")]
    latency = found.latency
    quantiles = [number(value) for value in (latency.p50, latency.p95, latency.p99)] if latency else [Cell("–")] * 3
    memory = found.memory
    taken = [memory.most, memory.device] if memory else [None, None]
    like = contender.likeness
    return [
        Cell(contender.name),
        number(rates[0]),
        *times,
        *quantiles,
        number(found.goodput),
        number(found.images),
        *(number(None if each is None else each / 2**20) for each in taken),
        number(None if like is None else like.frechet),
        Cell("–") if like is None else count(like.images),
    ]


def _rate(contender: ContenderResult, searched: bool) -> float | None:
    if searched:
        return None if contender.sustained is None else contender.sustained.rate
    return contender.runs[0].findings.offered


def _runs_table(result: Result) -> Table:
    headings = ["run", "offered/s", "in time", "p50, s", "p95, s", "p99, s", "goodput/s", "images/s", "batch"]
    headings += ["refused", "held"]
    rows = [_run_row(run) for contender in result.contenders for run in contender.runs]
    return Table("All runs", headings, rows)


def _run_row(run: RunResult) -> list[Cell]:
    found = run.findings
    quantiles = [Cell("–")] * 3
    if found.latency:
        quantiles = [number(value) for value in (found.latency.p50, found.latency.p95, found.latency.p99)]
    rest = [number(found.goodput), number(found.images), number(found.batch), count(found.fates["refused"])]
    held = Cell("yes" if run.held else "no")
    return [Cell(run.folder), number(found.offered), share(found.in_time), *quantiles, *rest, held]


def _stages(run: RunResult) -> Table:
    total = sum(stage.seconds for stage in run.findings.stages)
    rows = [
        [
            Cell(f"{stage.schedule} {stage.stage}"),
            count(round(stage.calls)),
            number(stage.seconds / stage.calls * _MILLI),
            number(stage.batch),
            share(stage.seconds / total),
        ]
        for stage in run.findings.stages
    ]
    return Table("Stages", ["stage", "steps", "ms a step", "images a step", "share of the time"], rows)


def _growth(found: Memory) -> str:
    first, last, most = (f"{value / 2**20:,.0f}" for value in (found.first, found.last, found.most))
    told = f"{first} MiB at first, {last} at the end, {most} at most"
    if found.hourly is None:
        return f"{told}. The run was too short for a slope."
    return f"{told}. Once settled it grew by {found.hourly / 2**20:,.1f} MiB an hour, by least squares."


def _compared(name: str, found: Comparison) -> list[Cell]:
    allowed = Cell(f"{found.allowed_mean:g} on average, {found.allowed_most} at most")
    numbers = [count(found.images), count(found.seeds), number(found.mean), count(found.most)]
    return [Cell(name), *numbers, allowed, count(len(found.wrong))]
