"""How long one step takes: every subgraph of a bundle at several batch sizes on one backend."""

import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch

from diffes.backends.base import Backend
from diffes.bundle import Bundle
from diffes.latency.timing import measure, wall_clock


@dataclass(frozen=True)
class StepTime:
    """Seconds of one step of one subgraph; `rows` counts guidance rows."""

    subgraph: str
    rows: int
    median: float
    fastest: float
    slowest: float
    repeats: int


def time_steps(
    bundle: Bundle,
    backend: Backend,
    rows: Sequence[int],
    *,
    seconds: float = 1.0,
    progress: Callable[[float], None] = lambda _: None,
) -> list[StepTime]:
    """Time each (subgraph, rows) for about `seconds`, in rounds over all of them (diffes/latency/timing.py)."""
    cells = [(subgraph.id, count) for subgraph in bundle.manifest.subgraphs for count in rows]
    runs = [_step(bundle, backend, *cell) for cell in cells]
    seen = measure(runs, wall_clock, seconds=seconds * len(cells), progress=progress)
    return [
        StepTime(subgraph, count, float(np.median(times)), float(times.min()), float(times.max()), seen.rounds)
        for (subgraph, count), times in zip(cells, seen.times.T, strict=True)
    ]


def report(bundle: Bundle, backend: Backend, times: Sequence[StepTime]) -> dict[str, object]:
    """The measurement with what it was measured on, ready for JSON."""
    return {
        "bundle": bundle.manifest.blob.sha256[:16],
        "backend": backend.name,
        "dtype": bundle.manifest.dtype,
        "machine": {"processor": platform.machine(), "threads": torch.get_num_threads()},
        "torch": torch.__version__,
        "steps": [asdict(time) for time in times],
    }


def _step(bundle: Bundle, backend: Backend, subgraph: str, rows: int) -> Callable[[], object]:
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(rows, *bundle.architecture.latent_shape, generator=generator)
    timesteps = torch.full((rows,), 500.0)
    conditions = backend.condition(timesteps, torch.arange(rows) % bundle.architecture.classes)

    def run() -> object:
        return backend.denoise(subgraph, latents, conditions).sum().item()  # waits for the device

    return run


def lines(times: Sequence[StepTime]) -> Iterator[tuple[str, ...]]:
    """Rows of the table a person reads: subgraph, rows, median, spread in ms, ms per row."""
    for time_ in times:
        yield (
            time_.subgraph,
            str(time_.rows),
            f"{time_.median * 1e3:.2f}",
            f"{time_.fastest * 1e3:.2f} .. {time_.slowest * 1e3:.2f}",
            f"{time_.median / time_.rows * 1e3:.3f}",
        )
