"""How long one step takes: every subgraph of a bundle at several batch sizes on one backend."""

import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import median

import torch

from diffes.backends.base import Backend
from diffes.bundle import Bundle


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
    """Time each (subgraph, rows) for about `seconds`, after one unmeasured step.

    Rounds over all cells are interleaved, so that a machine's drift touches all alike.
    """
    cells = [(subgraph.id, count) for subgraph in bundle.manifest.subgraphs for count in rows]
    runs = {cell: _step(bundle, backend, *cell) for cell in cells}
    once = {cell: _timed(run) for cell, run in runs.items()}  # after the warm-up inside _step
    rounds = max(3, min(50, int(seconds / (sum(once.values()) / len(once)))))
    times: dict[tuple[str, int], list[float]] = {cell: [] for cell in cells}
    for turn in range(rounds):
        for cell, run in runs.items():
            times[cell].append(_timed(run))
        progress((turn + 1) / rounds)
    return [
        StepTime(subgraph, count, median(seen), min(seen), max(seen), rounds)
        for (subgraph, count), seen in times.items()
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

    run()
    return run


def _timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


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
