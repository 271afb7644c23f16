"""`diffes bench`: how long steps take and what memory, alone (`step`, `memory`) and beside others (`compare`), and what
any plan's halves cost (`table`)."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

from diffes.backends import LOCAL_BACKENDS
from diffes.cli.app import app
from diffes.cli.options import AsJson, BackendName, BundleFolder, Device, Threads
from diffes.cli.progress import console, progress_bars
from diffes.files import write_text_atomically

if TYPE_CHECKING:
    from diffes.bench.compare import Comparison
    from diffes.bench.entrants import Opener
    from diffes.bundle import Bundle
    from diffes.latency.measure import Progress, Setup
    from diffes.latency.stand import Stand, Subject
    from diffes.latency.table import LatencyTable
    from diffes.schedule import StagePlan


class _StepUnlessNamed(TyperGroup):
    """`diffes bench BUNDLE` is `diffes bench step BUNDLE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, *ctx.help_option_names}:
            args = ["step", *args]
        return super().parse_args(ctx, args)


bench = typer.Typer(
    cls=_StepUnlessNamed,
    help="Time one step of every subgraph (`step`, meant if none is named), beside what one would run without Diffes"
    " (`compare`), see what memory it takes (`memory`), or measure what any stage plan of a model will cost (`table`).",
    no_args_is_help=True,
)
app.add_typer(bench, name="bench")

Rows = Annotated[
    list[int] | None, typer.Option(min=1, help="Rows of a step, guidance rows included; repeat for several.")
]


@bench.command()
def step(
    bundle: BundleFolder,
    rows: Rows = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="Time spent on each batch size, roughly.")] = 5,
    backend: BackendName = "onnxruntime",
    device: Device = "cpu",
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Time one step of every subgraph at several batch sizes, beside what the machine could do at best."""
    from diffes.bench.entrants import backend_entrants
    from diffes.bundle import Bundle

    opened = Bundle.open(bundle)
    plans = {subgraph.id: subgraph.plan for subgraph in opened.manifest.subgraphs}
    openers = {backend: partial(backend_entrants, opened, plans, backend, device, threads)}
    found = _timed(opened, openers, rows or [2, 8, 16], device, seconds)
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=1))
    else:
        _print_steps(found, "subgraph")


@bench.command()
def compare(
    bundle: BundleFolder,
    out: Annotated[Path, typer.Option(help="JSON to write.")],
    rows: Rows = None,
    schedule: Annotated[
        list[str] | None,
        typer.Option(help="Schedules whose narrowest stage is timed beside the dense model. Default: the bundle's."),
    ] = None,
    backend: Annotated[list[str] | None, typer.Option(help="Our backends. Default: onnxruntime and torch.")] = None,
    peer: Annotated[
        list[str] | None,
        typer.Option(help="diffusers, diffusers-compiled (torch.compile), copies (each plan has weights of its own)."),
    ] = None,
    device: Device = "cpu",
    seconds: Annotated[float, typer.Option(min=0.1, help="Time spent on each batch size, roughly.")] = 10,
) -> None:
    """Time backends and what one would run without them side by side, in one run; device memory beside it."""
    from diffes.bench.entrants import backend_entrants, peer_entrants
    from diffes.bundle import Bundle

    opened = Bundle.open(bundle)
    narrowest = {
        name: min((stage.blocks for stage in opened.schedule(name).stages), key=opened.architecture.macs)
        for name in schedule or [opened.default]
    }
    plans = {"dense": opened.architecture.dense, **narrowest}
    ours = backend or LOCAL_BACKENDS
    openers = {f"diffes {name}": partial(backend_entrants, opened, plans, name, device) for name in ours}
    openers |= {name: partial(peer_entrants, opened, plans, name, device) for name in peer or ("diffusers",)}
    found = _timed(opened, openers, rows or [2, 16], device, seconds)
    write_text_atomically(out, json.dumps(found.to_json(), indent=1) + "\n")
    _print_steps(found, "plan")


@bench.command()
def memory(
    bundle: BundleFolder,
    rows: Rows = None,
    backend: BackendName = "onnxruntime",
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Count the weights a bundle holds, and measure what a backend takes of a device, by kind."""
    from diffes.bench.memory import measure_memory
    from diffes.bundle import Bundle

    found = measure_memory(Bundle.open(bundle), backend, device, rows or [2])
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=1))
        return
    table = Table("what", "MiB", "of dense", title=f"weights, and {backend} on {device}")
    for name, count in found.to_json().items():
        if name not in ("format", "backend", "device"):
            told = ("not measured", "") if count is None else (f"{count / 2**20:.2f}", f"{count / found.dense:.3f}")
            table.add_row(name.replace("_", " "), *told)
    Console().print(table)


@bench.command("table")
def table_(
    model: Annotated[Path, typer.Argument(help="Model folder in diffusers layout, or a bundle.")],
    out: Annotated[Path, typer.Option(help="Latency table to write, JSON.")],
    backend: BackendName = "onnxruntime",
    device: Device = "cpu",
    batch: Annotated[int, typer.Option(min=1, help="Rows of a step, guidance rows included.")] = 2,
    dtype: Annotated[str, typer.Option(help="float32, or with torch also bfloat16 or float16.")] = "float32",
    threads: Threads = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="Time spent on timing, roughly.")] = 60,
    checks: Annotated[int, typer.Option(min=0, help="Random whole plans that the table's error is told by.")] = 8,
) -> None:
    """Measure what attention and MLP cost at every width, and so what any stage plan will: the table for a search."""
    from diffes.latency.measure import Setup, measure_table
    from diffes.latency.stand import Subject
    from diffes.latency.timing import clock_for, wall_clock

    subject = Subject.open(model)
    setup = Setup(backend, device, batch, dtype, threads)
    clock = clock_for(device) if backend == "torch" else wall_clock
    with progress_bars() as tell:
        found = measure_table(
            subject,
            setup,
            lambda plans: _stand(subject, setup, plans, tell),
            clock,
            seconds=seconds,
            checks=checks,
            progress=tell,
        )
    found.save(out)
    _print(found, subject.architecture.dense)
    console.print(f"wrote {out}", soft_wrap=True)


def _stand(
    subject: "Subject", setup: "Setup", plans: "Sequence[StagePlan]", progress: "Progress"
) -> "AbstractContextManager[Stand]":
    """Where the steps of a backend are timed; InvalidInput for a backend there is no stand of."""
    from diffes.errors import InvalidInput

    if setup.backend == "torch":
        return _torch_stand(subject, setup)
    if setup.backend == "onnxruntime":
        from export.stand import onnxruntime_stand

        return onnxruntime_stand(
            subject,
            plans,
            device=setup.device,
            batch=setup.batch,
            dtype=setup.dtype,
            threads=setup.threads,
            progress=progress,
        )
    raise InvalidInput("backend", expected="onnxruntime or torch", found=setup.backend)


@contextmanager
def _torch_stand(subject: "Subject", setup: "Setup") -> "Iterator[Stand]":
    from diffes.latency.stand import TorchStand

    yield TorchStand(
        subject,
        device=setup.device,
        batch=setup.batch,
        dtype=setup.dtype,
        threads=setup.threads,
    )


def _timed(
    bundle: "Bundle", openers: "Mapping[str, Opener]", rows: Sequence[int], device: str, seconds: float
) -> "Comparison":
    from diffes.bench.compare import compare as run

    model = bundle.manifest.model.class_name, bundle.architecture, bundle.manifest.dtype
    with progress_bars() as tell:
        return run(model, openers, rows, device=device, seconds=seconds, progress=tell)


def _print_steps(found: "Comparison", kind: str) -> None:
    machine = found.machine
    table = Table("runs", kind, "rows", "ms", "quartiles", "TFLOP/s", "roofline, ms")
    table.title = f"{machine.device}, {found.dtype}"
    table.caption = f"at best {machine.peak_tflops:.3g} TFLOP/s and {machine.peak_bandwidth:.3g} TB/s"
    for each in found.steps:
        spread = f"{each.low:.2f} .. {each.high:.2f}"
        numbers = f"{each.ms:.3f}", spread, f"{each.tflops:.3g}", f"{each.roofline:.3f}"
        table.add_row(each.name, each.plan, str(each.rows), *numbers)
    Console().print(table)


def _print(found: "LatencyTable", dense: "StagePlan") -> None:
    title = f"{found.backend} on {found.device}, {found.batch} rows, {found.dtype}"
    table = Table("kept", "attention, ms a block", "MLP, ms a block", title=title)
    for cost in found.costs:
        halves = cost.attention, cost.mlp
        for index, (heads, channels) in enumerate(zip(*(half.widths for half in halves), strict=True)):
            table.add_row(f"{heads} | {channels}", *(f"{half.nanoseconds[index] / 1e6:.4f}" for half in halves))
    how = found.provenance
    table.caption = (
        f"dense {found.latency(dense) / 1e6:.3f} ms, rest {found.rest / 1e6:.3f} ms; {how.rounds} rounds, spread up to"
        f" {how.spread:.1%}; off by at most {how.check_error:.1%} on {len(found.checks)} random plans"
    )
    Console().print(table)
