"""`diffes loadtest`: what a service can bear, and whether it keeps to what is promised."""

import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.status import Status

from diffes.bundled import bundled_features
from diffes.cli.app import app
from diffes.cli.options import BACKEND, DEVICE, Threads
from diffes.cli.progress import console
from diffes.errors import InvalidInput

if TYPE_CHECKING:
    from diffes.quality.features import FeatureExtractor
    from loadtest.result import RunResult
    from loadtest.run import Run

SCENARIOS = (
    "smoke, steady, saturation, burst, ramp, soak, overload, cancel-storm, cold-start, closed,"
    " kill-worker, kill-engine, pause-worker, pause-engine, full-disk, cut-triton"
)


@app.command()
def loadtest(
    scenario: Annotated[str, typer.Argument(help=f"A TOML file, or one of {SCENARIOS}.")],
    url: Annotated[str | None, typer.Option(help="A running service, such as http://127.0.0.1:3000.")] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Bundle to serve for the test; or with --url, what it serves.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for all files. Default: out/loadtest/SCENARIO.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Another value in the scenario, such as arrivals.rate=2; repeatable."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything that is drawn.")] = 0,
    key: Annotated[str, typer.Option(envvar="LOADTEST_KEY", help="API key, if the service asks for one.")] = "",
    log: Annotated[
        Path | None, typer.Option(help="With --url: the service's log, in JSON lines, if it is on this machine.")
    ] = None,
    backend: Annotated[str | None, typer.Option(help=f"With --bundle: {BACKEND}")] = None,
    device: Annotated[str | None, typer.Option(help=f"With --bundle: {DEVICE}")] = None,
    threads: Threads = None,
    workers: Annotated[str | None, typer.Option(help="With --bundle: processes that serve; auto: one per GPU.")] = None,
    compare: Annotated[
        list[str] | None,
        typer.Option(
            help="Load several in turn: schedules by name, diffusers-fastapi, diffusers-bentoml. Repeatable; others are"
            " laid beside the first."
        ),
    ] = None,
    model: Annotated[Path | None, typer.Option(help="Model folder that diffusers-* serve.")] = None,
    features: Annotated[
        Path | None,
        typer.Option(help="Feature network that contenders' images are compared by. Default: the bundled one."),
    ] = None,
) -> None:
    """Load a service with requests that do not wait for each other; exits 1 if it breaks what the scenario promises.

    Writes report.html, loadtest.json, and a row for every request. A test that was killed goes on in the same folder.
    Exits 2 if the test cannot be made.
    """
    from diffes.bundle import Bundle
    from loadtest.job import LoadTest
    from loadtest.lineup import Lineup
    from loadtest.report.page import REPORT_FILE, make_report
    from loadtest.scenario import load_scenario

    _end_tidily()
    asked, name = load_scenario(scenario, settings or []), Path(scenario).stem
    opened = None if bundle is None else Bundle.open(bundle)
    options = {"backend": backend, "device": device, "threads": threads, "workers": workers}
    given = {option: str(value) for option, value in options.items() if value is not None}
    lineup = Lineup(url=url, bundle=opened, settings=given, key=key, log=log, model=model)
    folder = out or Path("out") / "loadtest" / name
    _require_unfinished(folder / REPORT_FILE)
    with _told() as told:
        test = LoadTest(
            name=name,
            scenario=asked,
            contenders=lineup.contenders(asked, compare or []),
            out=folder,
            seed=seed,
            told=told,
            bundle=opened,
            device=device if device and backend != "triton" else "cpu",
            features=_features(features) if compare else None,
        )
        result = test.run()
    page = make_report(folder)
    console.print(f"wrote {page}", soft_wrap=True)
    typer.echo(result.verdict)
    raise typer.Exit(0 if result.passed else 1)


def _end_tidily() -> None:
    """Whoever ends this process, or closes its terminal, ends what it has started, too; nohup keeps its meaning."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda number, _: sys.exit(128 + number))


def _require_unfinished(page: Path) -> None:
    """A test that is over is not told of again as if it were made anew."""
    if page.exists():
        remedy = "Give another folder by --out, or remove this one."
        raise InvalidInput("out", expected="a new folder, or a test that was killed", found=f"{page}", remedy=remedy)


def _features(folder: Path | None) -> "FeatureExtractor":
    from diffes.quality.features import FeatureExtractor

    return FeatureExtractor.load(folder or bundled_features())


class _Told:
    """How a load test goes on: a line for what is over, and on a terminal one that changes for what is under way."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def phase(self, words: str) -> None:
        """What begins."""
        self._status.update(escape(words))

    def sending(self, run: "Run") -> None:
        """Counts so far."""
        if (began := run.began) is None:
            return
        rows = run.rows()
        fates = Counter(row.fate for row in rows)
        told = ", ".join(f"{count} {fate}" for fate, count in fates.most_common())
        self._status.update(
            f"{min(time() - began, run.plan.seconds):.0f} of {run.plan.seconds:.0f} s: {told or 'no end yet'}"
        )

    def ran(self, result: "RunResult") -> None:
        """What a run came to."""
        found = result.findings
        p99 = "no answer" if found.latency is None else f"p99 {found.latency.p99:.3g} s"
        fates = ", ".join(f"{count} {fate}" for fate, count in found.fates.items() if count)
        held = "held" if result.held else "not held"
        told = f"{result.folder}: {found.offered:.3g}/s offered, {found.in_time:.1%} in time, {p99}; {fates}: {held}"
        console.print(told, highlight=False, soft_wrap=True)


@contextmanager
def _told() -> Iterator[_Told]:
    with console.status("") as status:
        yield _Told(status)
