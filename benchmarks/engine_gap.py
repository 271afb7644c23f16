"""What the engine adds to its steps: the time from the end of one denoiser call to the start of the next.

    python benchmarks/engine_gap.py out/bundle --schedule uneven --backend torch --device cuda --out RESULT.json

One request at a time of as many images as are to go together, and a scheduler that takes all along, so that every step
has the same rows; times are by the device's clock. A request's first step, whose predecessor was another request's, is
left out.
"""

import argparse
import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diffes.backends import open_backend
from diffes.bench.machine import Machine
from diffes.bundle import Bundle
from diffes.engine.costs import StepCosts
from diffes.engine.engine import Engine
from diffes.engine.observer import Silent, StepReport
from diffes.engine.policies import OldestFirst
from diffes.engine.request import Limits, Request
from diffes.engine.scheduling import StageScheduler
from diffes.files import write_text_atomically
from diffes.serving.garbage import spare_what_stays
from diffes.serving.warmup import warm_up


@dataclass
class Steps(Silent):
    """Keeps what is told of steps; one request at a time is inside."""

    seconds: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    rows: set[int] = field(default_factory=set)
    first: bool = True

    def admitted(self, queue_seconds: float) -> None:  # noqa: ARG002
        """The next step is a request's first."""
        self.first = True

    def stepped(self, step: StepReport) -> None:
        """Note it."""
        if not self.first and step.gap_seconds is not None:
            self.seconds.append(step.seconds)
            self.gaps.append(step.gap_seconds)
            self.rows.add(step.rows)
        self.first = False


def measure(engine: Engine, steps: Steps, images: int, schedule: str | None, requests: int) -> dict[str, Any]:
    """Quartiles of milliseconds of a step and of a gap, of the gap's share of its step; and the mean of a request."""
    engine.submit(Request(prompt=engine.bundle.wording.example(0), seed=0, images=images, schedule=schedule)).result()
    steps.seconds, steps.gaps, steps.rows = [], [], set()
    began = time.perf_counter()
    for seed in range(requests):
        engine.submit(
            Request(prompt=engine.bundle.wording.example(0), seed=seed, images=images, schedule=schedule)
        ).result()
    wall = (time.perf_counter() - began) / requests
    seconds, gaps = np.array(steps.seconds), np.array(steps.gaps)
    (rows,) = steps.rows
    return {
        "rows": rows,
        "steps": len(seconds),
        "step_ms": _quartiles(1e3 * seconds),
        "gap_ms": _quartiles(1e3 * gaps),
        "share": _quartiles(gaps / seconds),
        "request_ms": 1e3 * wall,
    }


def _quartiles(values: NDArray[np.float64]) -> list[float]:
    return [float(value) for value in np.quantile(values, (0.25, 0.5, 0.75))]


def main() -> None:
    """Measure, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--schedule", help="guided; default: the bundle's")
    parser.add_argument("--backend", default="torch")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--images", type=int, action="append", help="that go together; default: 1, 8 and 32")
    parser.add_argument("--requests", type=int, default=20)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    bundle, counts = Bundle.open(options.bundle), options.images or [1, 8, 32]
    backend = open_backend(options.backend, bundle, options.device, None)
    most = max(counts)
    costs, steps = warm_up(bundle, backend, most), Steps()
    spare_what_stays()  # as the service does
    together = StageScheduler(OldestFirst(), StepCosts({}), most)  # to whom company costs nothing
    limits = Limits(batch=most, running=most, images=most, conditions=1 << 30)
    engine = Engine(bundle, backend, limits, steps, costs=costs, scheduler=together)
    engine.start()
    found = [measure(engine, steps, images, options.schedule, options.requests) for images in counts]
    engine.close()
    result = {
        "machine": asdict(Machine.of(torch.device(options.device), bundle.manifest.dtype)),
        "dtype": bundle.manifest.dtype,
        "backend": options.backend,
        "gaps": found,
    }
    write_text_atomically(options.out, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
