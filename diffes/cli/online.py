"""Verbs that make images: generate, and serve."""

import random
from pathlib import Path
from typing import Annotated

import typer

from diffes.cli.app import app
from diffes.cli.options import BACKEND, DEVICE, BackendName, BundleFolder, Device, ScheduleName, Threads
from diffes.cli.progress import console


@app.command()
def generate(
    bundle: BundleFolder,
    out: Annotated[Path, typer.Option(help="PNG to write; several images side by side.")],
    label: Annotated[str | None, typer.Option(help="Class name or number; this or --prompt.")] = None,
    prompt: Annotated[str | None, typer.Option(help="Text: what to show.")] = None,
    negative_prompt: Annotated[str | None, typer.Option(help="Text: what not to show.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="First image's seed. Default: random, printed.")] = None,
    n: Annotated[int, typer.Option("-n", "--n", min=1, help="Images; image j has seed + j.")] = 1,
    steps: Annotated[int | None, typer.Option(min=1, help="Sampler steps. Default: the schedule's.")] = None,
    guidance: Annotated[float | None, typer.Option(min=0, help="Guidance scale. Default: the schedule's.")] = None,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="One of the bundle's. Default: the model's.")] = None,
    schedule: ScheduleName = None,
    backend: BackendName = "onnxruntime",
    device: Device = "cpu",
    threads: Threads = None,
) -> None:
    """Make images of one class or text without a service."""
    from diffes.backends import open_backend
    from diffes.bundle import Bundle
    from diffes.engine.engine import Engine
    from diffes.engine.request import Limits, Request
    from diffes.errors import InvalidInput
    from diffes.images import grid_png
    from diffes.sizes import Size

    if (label is None) == (prompt is None):
        found = "neither" if label is None else "both"
        raise InvalidInput("label", expected="exactly one of --label and --prompt", found=found)
    opened, wanted = Bundle.open(bundle), None if size is None else Size.read(size)
    request = Request(
        prompt=opened.wording.prompt(label, prompt, negative_prompt, wanted),
        size=wanted,
        seed=random.randrange(2**31) if seed is None else seed,
        images=n,
        steps=steps,
        guidance=guidance,
        schedule=schedule,
    )
    engine = Engine(opened, open_backend(backend, opened, device, threads), Limits(images=max(n, 1)))
    engine.start()
    try:
        result = engine.submit(request).result()
    finally:
        engine.close(drain=False)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(grid_png(result.images))
    console.print(f"wrote {out}: seed {request.seed}, {result.timings.total_seconds:.2f} s", soft_wrap=True)


@app.command()
def serve(
    bundle: Annotated[
        Path | None, typer.Argument(help="Folder written by `diffes export`. Default: DIFFES_BUNDLE, or the file's.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file of settings (docs/operations.md).")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="TCP port.")] = 3000,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    backend: Annotated[str | None, typer.Option(help=f"{BACKEND} Default: onnxruntime.")] = None,
    device: Annotated[str | None, typer.Option(help=f"{DEVICE} Default: cpu.")] = None,
    threads: Threads = None,
    workers: Annotated[
        str | None, typer.Option(help="Processes that serve; auto: one per visible GPU. Default: 1.")
    ] = None,
) -> None:
    """Serve a bundle over HTTP: POST /generate, GET /metrics."""
    from diffes.serving.launch import serve as serve_bundle

    options = {"backend": backend, "device": device, "threads": threads, "workers": workers}
    serve_bundle(bundle, config=config, host=host, port=port, **options)
