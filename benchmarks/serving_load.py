"""What callers feel under load: the engine's scheduler beside one image at a time and beside whole requests batched.

    python benchmarks/serving_load.py out/bundle --schedule half --load 0.5 --load 0.8 --load 0.95 --out RESULT.json

Arrivals are Poisson and do not wait for answers (open loop); every scheduler meets the same ones, in turns, over the
same backend. Load is told in times of what one image at a time can serve. A request is good if it is done within
--slack times what it takes by itself; latency counts from when it was to come.
"""

import argparse
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from rich.progress import Progress
from serving_schedulers import Maker, Makers, one_at_a_time, schedulers
from serving_simulated import simulations, told_of
from serving_statistics import PEERS, SERIAL, Felt, felt, spread
from serving_trial import Asked, Trial, Unclosed, poisson

from diffes.backends import open_backend
from diffes.bench.machine import Machine
from diffes.bundle import Bundle
from diffes.engine.policies import POLICIES
from diffes.engine.request import Request
from diffes.files import write_text_atomically
from diffes.serving.garbage import spare_what_stays
from diffes.serving.warmup import warm_up

Stretch = dict[str, Any]  # what Trial.run tells of one


def rotated(names: Iterable[str], turn: int) -> list[str]:
    """Each turn another goes first: what comes later in a turn finds a warmer machine."""
    ordered = list(names)
    first = turn % len(ordered)
    return ordered[first:] + ordered[:first]


def in_turns(
    run: Callable[[Maker, Sequence[float]], Stretch],
    makers: Makers,
    rate: float,
    asked: Asked,
    tell: Callable[[], None],
) -> dict[str, list[Stretch]]:
    """Every scheduler's stretches, over the same arrivals."""
    stretches: dict[str, list[Stretch]] = {name: [] for name in makers}
    for stretch in range(asked.stretches):
        arrivals = poisson(rate, asked.seconds, stretch)
        for name in rotated(makers, stretch):
            stretches[name].append(run(makers[name], arrivals))
        tell()
    return stretches


def summary(stretches: Sequence[Stretch], alone: float, slacks: Sequence[float]) -> Felt:
    """Of all stretches of a scheduler at a load."""
    means = {key: float(np.mean([each[key] for each in stretches])) for key in ("images_a_step", "busy", "rate")}
    return felt(np.concatenate([stretch["latencies"] for stretch in stretches]), alone, slacks) | means


def side_by_side(
    stretches: Mapping[str, Sequence[Stretch]], alone: float, slacks: Sequence[float]
) -> list[dict[str, Any]]:
    """Every scheduler's summary at a load; of ours also how surely it stands where it does beside the better peer."""
    told = {name: summary(each, alone, slacks) for name, each in stretches.items()}
    latencies = {name: [np.array(each["latencies"]) for each in of] for name, of in stretches.items()}
    peers = [latencies[name] for name in told if name in PEERS]
    for name in (name for name in told if name not in PEERS):
        told[name]["spread"] = spread(latencies[name], peers, slacks[0] * alone)
    return [{"scheduler": name, **each} for name, each in told.items()]


def with_deadlines(
    trial: Trial, makers: Makers, asked: Asked, alone: float, tell: Callable[[], None]
) -> list[dict[str, Any]]:
    """Callers who wait a slack and no longer, behind the same admission: all schedulers but one at a time, in turns."""
    found: list[dict[str, Any]] = []
    for load in asked.deadline_loads:
        for slack in asked.slacks:
            waiting = partial(trial.run, timeout=slack * alone)
            others = {name: make for name, make in makers.items() if name != SERIAL}
            stretches = in_turns(waiting, others, load / alone, asked, tell)
            at = {"load": load, "slack": slack, "alone": alone}
            found += [{"scheduler": name, **at, **kept(each, slack * alone)} for name, each in stretches.items()]
    return found


def kept(stretches: Sequence[Stretch], limit: float) -> dict[str, Any]:
    """Shares done within the limit, refused and dropped, and p99 of what was done, if anything was."""
    latencies = np.concatenate([each["latencies"] for each in stretches])
    done, requests = latencies[np.isfinite(latencies)], len(latencies)
    shares = {fate: sum(each[fate] for each in stretches) / requests for fate in ("refused", "dropped")}
    good, p99 = float(np.mean(latencies <= limit)), float(np.quantile(done, 0.99)) if len(done) else None
    return {"requests": requests, "good": good, "p99": p99, **shares}


def measured(
    trial: Trial, makers: Makers, asked: Asked, alone: float, tell: Callable[[], None]
) -> list[dict[str, Any]]:
    """Every scheduler at every load, in turns."""
    found: list[dict[str, Any]] = []
    for load in asked.loads:
        met = {name: makers[name] for name in asked.schedulers_at(load, makers)}
        stretches = in_turns(trial.run, met, load / alone, asked, tell)
        found += [{"load": load, **each} for each in side_by_side(stretches, alone, asked.slacks)]
    return found


def arguments() -> argparse.Namespace:
    """Of the command line."""
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
    parser.add_argument(
        "--deadline-load", type=float, action="append", default=[], help="at which callers wait a slack and no longer"
    )
    parser.add_argument("--policy", action="append", choices=sorted(POLICIES))
    parser.add_argument("--slack", type=float, action="append", help="default: 2")
    parser.add_argument("--seconds", type=float, default=30.0, help="of one stretch")
    parser.add_argument("--stretches", type=int, default=4)
    parser.add_argument("--simulated", type=int, default=10_000, help="requests at each load by simulation")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def main() -> None:
    """Measure, and write."""
    options = arguments()
    asked = Asked(
        loads=options.load,
        slacks=options.slack or [2.0],
        serial_up_to=options.serial_up_to,
        deadline_loads=options.deadline_load,
        seconds=options.seconds,
        stretches=options.stretches,
    )
    bundle = Bundle.open(options.bundle)
    backend: Any = Unclosed(open_backend(options.backend, bundle, options.device, options.threads))
    costs = warm_up(bundle, backend, options.most)

    def request(number: int) -> Request:
        return Request(
            prompt=bundle.wording.example(number), seed=number, schedule=options.schedule, steps=options.steps
        )

    spare_what_stays()  # as the service does
    trial = Trial(bundle, backend, costs, options.most, request)
    alone = median(trial.run(one_at_a_time, [0.0])["latencies"][0] for _ in range(7))
    makers = schedulers(options.most, options.policy or ["catch-up"])
    turns = (len(asked.loads) + len(asked.deadline_loads) * len(asked.slacks)) * asked.stretches
    result = {
        "machine": asdict(Machine.of(torch.device(options.device), bundle.manifest.dtype)),
        "dtype": bundle.manifest.dtype,
        "backend": options.backend,
        "most": options.most,
        "stretches": options.stretches,
        **told_of(trial.keys, costs),
    }

    def write(**more: Any) -> None:
        result.update(more)
        write_text_atomically(options.out, json.dumps(result, indent=1) + "\n")

    with Progress() as bars:
        tell = partial(bars.advance, bars.add_task("serving", total=turns))
        write(loads=measured(trial, makers, asked, alone, tell))
        write(deadlines=with_deadlines(trial, makers, asked, alone, tell))
    write(simulated=simulations(result, options.simulated))


if __name__ == "__main__":
    main()
