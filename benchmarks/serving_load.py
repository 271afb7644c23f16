"""What callers feel under load: the engine's scheduler beside one image at a time and beside whole requests batched.

    python benchmarks/serving_load.py out/bundle --schedule half --load 0.5 --load 0.8 --load 0.95 --out RESULT.json

Arrivals are Poisson and do not wait for answers (open loop); every scheduler meets the same ones, in turns, over the
same backend. Load is told in times of what one image at a time can serve. A request is good if it is done within
--slack times what it takes by itself; latency counts from when it was to come.
"""

import argparse
import json
import math
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from rich.progress import Progress
from serving_statistics import PEERS, SERIAL, WHOLE, Felt, felt, spread

from diffes.backends import Backend, open_backend
from diffes.bench.machine import Machine
from diffes.bundle import Bundle
from diffes.engine.costs import StepCosts
from diffes.engine.engine import Engine
from diffes.engine.observer import Silent, StepReport
from diffes.engine.path import find_path
from diffes.engine.policies import POLICIES, OldestFirst, scheduler_named
from diffes.engine.request import Limits, Request, resolve
from diffes.engine.scheduling import BatchKey, Image, Scheduler, Situation, StageScheduler
from diffes.engine.simulation import Arrival, simulate
from diffes.files import write_text_atomically
from diffes.serving.warmup import spare_what_stays, warm_up

_SIMULATED = 10_000  # requests at each load


@dataclass
class RequestLevel:
    """The peer: whoever waits when the machine falls idle goes together from the first step to the last."""

    most: int
    group: list[Any] = field(default_factory=list)

    def choose(self, running: Sequence[Image], situation: Situation) -> list[Image]:  # noqa: ARG002
        """The group that is under way, or the next one."""
        inside = set(map(id, running))
        self.group = [image for image in self.group if id(image) in inside] or list(running[: self.most])
        return self.group


@dataclass
class Steps(Silent):
    """Keeps what the engine tells of its steps."""

    images: list[int] = field(default_factory=list)
    seconds: float = 0.0

    def stepped(self, step: StepReport) -> None:
        """Note it."""
        self.images.append(step.images)
        self.seconds += step.seconds


class Unclosed:
    """A backend that engines take turns in: none of them closes it."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def close(self) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Trial:
    """One scheduler over one stretch of arrivals."""

    bundle: Bundle
    backend: Backend
    costs: StepCosts
    most: int
    request: Callable[[int], Request]

    def run(self, scheduler: Scheduler, arrivals: Sequence[float]) -> dict[str, Any]:
        """Seconds of every request from when it was to come; images in a step; the share of time spent in steps."""
        steps = Steps()
        limits = Limits(batch=self.most, running=4 * self.most, queue=len(arrivals), conditions=1 << 30)
        engine = Engine(self.bundle, self.backend, limits, steps, costs=self.costs, scheduler=scheduler)
        engine.start()
        began = time.perf_counter()
        ended: dict[int, float] = {}

        def note(number: int, _: Future[Any]) -> None:
            ended[number] = time.perf_counter() - began

        futures = []
        for number, at in enumerate(arrivals):
            time.sleep(max(0.0, began + at - time.perf_counter()))
            future = engine.submit(self.request(number))
            future.add_done_callback(partial(note, number))
            futures.append(future)
        for future in futures:
            future.result()
        engine.close()
        took = time.perf_counter() - began
        return {
            "latencies": [ended[number] - at for number, at in enumerate(arrivals)],
            "images_a_step": float(np.mean(steps.images)),
            "busy": steps.seconds / took,
            "rate": len(arrivals) / took,
        }


def schedulers(costs: StepCosts, most: int, policies: Sequence[str]) -> dict[str, Callable[[], Scheduler]]:
    """Makers by name: a scheduler may keep a state."""
    ours: dict[str, Callable[[], Scheduler]] = {
        f"diffes, {name}": partial(scheduler_named, name, costs, most) for name in policies
    }
    return {
        SERIAL: lambda: StageScheduler(OldestFirst(), costs, 1),
        WHOLE: lambda: RequestLevel(most),
        **ours,
    }


def rotated(names: Iterable[str], turn: int) -> list[str]:
    """Each turn another goes first: what comes later in a turn finds a warmer machine."""
    ordered = list(names)
    first = turn % len(ordered)
    return ordered[first:] + ordered[:first]


def poisson(rate: float, seconds: float, seed: int) -> list[float]:
    """Times of arrivals."""
    rng, times, now = random.Random(seed), list[float](), 0.0
    while (now := now + rng.expovariate(rate)) < seconds:
        times.append(now)
    return times


def summary(stretches: Sequence[dict[str, Any]], alone: float, slacks: Sequence[float]) -> Felt:
    """Of all stretches of a scheduler at a load."""
    means = {key: float(np.mean([each[key] for each in stretches])) for key in ("images_a_step", "busy", "rate")}
    return felt(np.concatenate([stretch["latencies"] for stretch in stretches]), alone, slacks) | means


def side_by_side(
    stretches: Mapping[str, Sequence[dict[str, Any]]], alone: float, slacks: Sequence[float]
) -> list[dict[str, Any]]:
    """Every scheduler's summary at a load; of ours also how surely it stands where it does beside the better peer."""
    told = {name: summary(each, alone, slacks) for name, each in stretches.items()}
    latencies = {name: [np.array(each["latencies"]) for each in of] for name, of in stretches.items()}
    peers = [latencies[name] for name in told if name in PEERS]
    for name in (name for name in told if name not in PEERS):
        told[name]["spread"] = spread(latencies[name], peers, slacks[0] * alone)
    return [{"scheduler": name, **each} for name, each in told.items()]


def path_of(trial: Trial) -> tuple[BatchKey, ...]:
    """What the steps of a request need."""
    asked = trial.request(0)
    resolved = resolve(asked, trial.bundle, Limits())
    return find_path(trial.bundle, resolved.schedule, resolved.steps, resolved.guidance != 1).keys


def as_one_stage(keys: tuple[BatchKey, ...], costs: StepCosts) -> tuple[BatchKey, ...]:
    """As many steps that all need what the one whose cost is nearest to their average does."""
    average = costs.remaining(keys, 0) / len(keys)
    nearest = min(keys, key=lambda key: abs(costs.seconds(key.subgraph, key.rows(1)) - average))
    return (nearest,) * len(keys)


def by_costs(
    trial: Trial, keys: tuple[BatchKey, ...], scheduler: Scheduler, load: float, slacks: Sequence[float]
) -> Felt:
    """What many more requests would feel if steps cost what they did before the first request, and nothing else did."""
    alone = trial.costs.remaining(keys, 0)
    arrivals = [Arrival(at, keys) for at in poisson(load / alone, _SIMULATED * alone / load, 0)]
    batches = simulate(arrivals, scheduler, trial.costs, load)
    latencies = np.array([arrival.latency for arrival in arrivals])
    return felt(latencies, alone, slacks) | {"images_a_step": float(np.mean([len(batch) for batch in batches]))}


def simulations(
    trial: Trial,
    makers: Mapping[str, Callable[[], Scheduler]],
    loads: Sequence[float],
    serial_up_to: float,
    slacks: Sequence[float],
) -> list[dict[str, Any]]:
    """Every scheduler at each load; and ours if any two images might share a step: what stages take from it."""
    keys = path_of(trial)
    told = {name: (keys, make) for name, make in makers.items()}
    ours = next(name for name in makers if name not in PEERS)
    told[f"{ours}, were it one stage"] = as_one_stage(keys, trial.costs), makers[ours]
    return [
        {"scheduler": name, "load": load, **by_costs(trial, keys, make(), load, slacks)}
        for load in loads
        for name, (keys, make) in told.items()
        if name != SERIAL or load <= serial_up_to
    ]


def main() -> None:
    """Measure, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--schedule", default="half")
    parser.add_argument("--backend", default="onnxruntime")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="of the backend on a CPU; default: its own choice")
    parser.add_argument("--most", type=int, default=4, help="images in a step")
    parser.add_argument("--steps", type=int, help="default: the schedule's")
    parser.add_argument("--load", type=float, action="append", required=True)
    parser.add_argument(
        "--serial-up-to", type=float, default=math.inf, help="load above which one at a time is left out"
    )
    parser.add_argument("--policy", action="append", choices=sorted(POLICIES))
    parser.add_argument("--slack", type=float, action="append", help="default: 2")
    parser.add_argument("--seconds", type=float, default=30.0, help="of one stretch")
    parser.add_argument("--stretches", type=int, default=4)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    bundle = Bundle.open(options.bundle)
    backend: Any = Unclosed(open_backend(options.backend, bundle, options.device, options.threads))
    costs = warm_up(bundle, backend, options.most)

    def request(number: int) -> Request:
        label = number % bundle.architecture.classes
        return Request(label=label, seed=number, schedule=options.schedule, steps=options.steps)

    spare_what_stays()  # as the service does
    trial = Trial(bundle, backend, costs, options.most, request)
    serial, slacks = StageScheduler(OldestFirst(), costs, 1), options.slack or [2.0]
    alone = median(trial.run(serial, [0.0])["latencies"][0] for _ in range(7))
    makers = schedulers(costs, options.most, options.policy or ["catch-up"])
    found: list[dict[str, Any]] = []
    with Progress() as bars:
        task = bars.add_task("serving", total=len(options.load) * options.stretches)
        for load in options.load:
            meeting = {name: make for name, make in makers.items() if name != SERIAL or load <= options.serial_up_to}
            stretches: dict[str, list[dict[str, Any]]] = {name: [] for name in meeting}
            for stretch in range(options.stretches):
                arrivals = poisson(load / alone, options.seconds, stretch)
                for name in rotated(meeting, stretch):
                    stretches[name].append(trial.run(meeting[name](), arrivals))
                bars.advance(task)
            found += [{"load": load, **each} for each in side_by_side(stretches, alone, slacks)]
    simulated = simulations(trial, makers, options.load, options.serial_up_to, slacks)
    result = {
        "machine": asdict(Machine.of(torch.device(options.device), bundle.manifest.dtype)),
        "dtype": bundle.manifest.dtype,
        "backend": options.backend,
        "most": options.most,
        "stretches": options.stretches,
        "loads": found,
        "simulated": simulated,
    }
    write_text_atomically(options.out, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
