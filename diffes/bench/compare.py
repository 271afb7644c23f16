"""Entrants beside one another in one run: milliseconds a step, what share of the hardware that is, and memory."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from diffes.architectures import Architecture
from diffes.bench.entrants import Entrant, Inputs, Opener
from diffes.bench.machine import Machine
from diffes.latency.timing import Measured, clock_for, measure
from diffes.manifest import DTYPES

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class StepTime:
    """One entrant's step at one batch: milliseconds (median; quartiles) of `rounds`, and what it computed in them.

    `roofline` is the milliseconds in which this machine at its measured peaks would have multiplied as much, or read
    the weights, whichever takes longer (Williams, Waterman, Patterson 2009).
    """

    name: str
    plan: str
    rows: int
    ms: float
    low: float
    high: float
    rounds: int
    gflop: float
    tflops: float
    roofline: float


@dataclass(frozen=True)
class Loaded:
    """Device bytes that opening an entrant took, and those that its first steps took beyond that; None on a CPU."""

    name: str
    opened: int | None
    first_steps: int | None


@dataclass(frozen=True)
class Comparison:
    """Everything one run found."""

    model: str
    dtype: str
    machine: Machine
    steps: tuple[StepTime, ...]
    memory: tuple[Loaded, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"format": 1, **asdict(self)}


def compare(
    model: tuple[str, Architecture, str],
    openers: Mapping[str, Opener],
    rows: Sequence[int],
    *,
    device: str,
    seconds: float,
    progress: Progress = lambda _phase, _share: None,
) -> Comparison:
    """Open every entrant, make its steps ready at every batch size of `rows`, and time all in interleaved rounds.

    `model` is (class name, architecture, dtype). `seconds` is roughly what a batch size takes.
    """
    class_name, architecture, dtype = model
    place = torch.device(device)
    machine = Machine.of(place, dtype)
    entrants, memory = _open(openers, place, progress)
    steps: list[StepTime] = []
    grown = dict.fromkeys(openers, 0)
    for number, count in enumerate(rows):
        inputs = Inputs.of(architecture, count, place)
        runs = []
        for opener, entrant in entrants:
            before = used_bytes(place)
            runs.append(entrant.step(inputs))
            for _ in range(3):  # compiled, captured and tuned here, not in the rounds
                runs[-1]()
            grown[opener] += used_bytes(place) - before
            progress(f"warming up {count} rows", len(runs) / len(entrants))
        seen = measure(
            runs,
            clock_for(device),
            seconds=seconds,
            progress=lambda share, at=number: progress("timing", (at + share) / len(rows)),  # type: ignore[misc]
        )
        steps += [
            _step_time(entrant, count, architecture, DTYPES[dtype], machine, seen, index)
            for index, (_, entrant) in enumerate(entrants)
        ]
    on_gpu = place.type == "cuda"
    loaded = tuple(Loaded(name, memory[name] if on_gpu else None, grown[name] if on_gpu else None) for name in openers)
    return Comparison(class_name, dtype, machine, tuple(steps), loaded)


def _step_time(
    entrant: Entrant,
    rows: int,
    architecture: Architecture,
    dtype: torch.dtype,
    machine: Machine,
    seen: Measured,
    index: int,
) -> StepTime:
    ms = float(seen.seconds[index] * 1e3)
    low, high = np.quantile(seen.times[:, index], (0.25, 0.75)) * 1e3
    gflop = 2e-9 * rows * architecture.macs(entrant.stage_plan)
    gigabytes = 1e-9 * dtype.itemsize * architecture.parameters(entrant.stage_plan)
    roofline = max(gflop / machine.peak_tflops, gigabytes / machine.peak_bandwidth)
    return StepTime(
        entrant.name, entrant.plan, rows, ms, float(low), float(high), seen.rounds, gflop, gflop / ms, roofline
    )


def _open(
    openers: Mapping[str, Opener], device: torch.device, progress: Progress
) -> tuple[list[tuple[str, Entrant]], dict[str, int]]:
    entrants: list[tuple[str, Entrant]] = []
    memory: dict[str, int] = {}
    for name, opener in openers.items():
        before = used_bytes(device)
        entrants += [(name, entrant) for entrant in opener()]
        memory[name] = used_bytes(device) - before
        progress(f"opening {name}", len(memory) / len(openers))
    return entrants, memory


def used_bytes(device: torch.device) -> int:
    """Bytes of the device that are taken, by whomever; what torch holds in reserve is given back first."""
    if device.type != "cuda":
        return 0
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info(device)
    return total - free
