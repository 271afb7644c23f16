"""`diffes bench`: how long steps take. `steps` times a bundle's subgraphs, `table` what any plan's halves cost."""

import json
from collections.abc import Iterator, Sequence
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
    from diffes.latency.measure import Progress, Setup
    from diffes.latency.stand import Stand, Subject
    from diffes.latency.table import LatencyTable
    from diffes.schedule import StagePlan


class _StepsUnlessNamed(TyperGroup):
    """`diffes bench BUNDLE` is `diffes bench steps BUNDLE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, *ctx.help_option_names}:
            args = ["steps", *args]
        return super().parse_args(ctx, args)


bench = typer.Typer(
    cls=_StepsUnlessNamed,
    help="Time one step of a bundle's subgraphs (`steps`, meant if neither is named), or measure what any stage plan"
    " of a model will cost (`table`).",
    no_args_is_help=True,
)
app.add_typer(bench, name="bench")


@bench.command()
def steps(
    bundle: BundleFolder,
    rows: Annotated[list[int] | None, typer.Option(min=1, help="Rows of a step, guidance rows included.")] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="Time spent on each cell, roughly.")] = 1.0,
    backend: BackendName = "onnxruntime",
    device: Device = "cpu",
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Time one step of every subgraph at several batch sizes."""
    from diffes.backends import open_backend
    from diffes.bench.steps import lines, report, time_steps
    from diffes.bundle import Bundle

    opened = Bundle.open(bundle)
    runner = open_backend(backend, opened, device, threads)
    with progress_bars() as tell:
        times = time_steps(opened, runner, rows or [2, 8, 16], seconds=seconds, progress=lambda s: tell("timing", s))
    if as_json:
        typer.echo(json.dumps(report(opened, runner, times), indent=1))
        return
    table = Table("subgraph", "rows", "ms (median)", "ms (range)", "ms a row", title=f"one step on {runner.name}")
    for line in lines(times):
        table.add_row(*line)
    Console().print(table)


@bench.command()
def compare(
    bundle: BundleFolder,
    out: Annotated[Path, typer.Option(help="JSON to write.")],
    rows: Annotated[list[int] | None, typer.Option(min=1, help="Rows of a step, guidance rows included.")] = None,
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
    from diffes.bench.compare import compare as run
    from diffes.bench.entrants import backend_entrants, peer_entrants
    from diffes.bundle import Bundle

    opened = Bundle.open(bundle)
    dense = opened.architecture.dense
    narrowest = {
        name: min((stage.blocks for stage in opened.schedule(name).stages), key=opened.architecture.macs)
        for name in schedule or [opened.default]
    }
    plans = {"dense": dense, **narrowest}
    openers = {
        f"diffes {name}": partial(backend_entrants, opened, plans, name, device) for name in backend or LOCAL_BACKENDS
    }
    openers |= {name: partial(peer_entrants, opened, plans, name, device) for name in peer or ("diffusers",)}
    model = opened.manifest.model.class_name, opened.architecture, opened.manifest.dtype
    with progress_bars() as tell:
        found = run(model, openers, rows or [2, 16], device=device, seconds=seconds, progress=tell)
    write_text_atomically(out, json.dumps(found.to_json(), indent=1) + "\n")
    table = Table("runs", "plan", "rows", "ms", "quartiles", "TFLOP/s", title=f"{found.machine.device}, {found.dtype}")
    for step in found.steps:
        spread = f"{step.low:.2f} .. {step.high:.2f}"
        table.add_row(step.name, step.plan, str(step.rows), f"{step.ms:.3f}", spread, f"{step.tflops:.2f}")
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
