"""The schedulers of serving_load.py by simulation, over more arrivals than a machine can be lent for."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from serving_statistics import PEERS, Felt, felt
from serving_trial import Asked, Trial, poisson

from diffes.engine.costs import StepCosts
from diffes.engine.path import find_path
from diffes.engine.request import Limits, resolve
from diffes.engine.scheduling import BatchKey, Scheduler
from diffes.engine.simulation import Arrival, simulate


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


def by_costs(trial: Trial, keys: tuple[BatchKey, ...], scheduler: Scheduler, load: float, asked: Asked) -> Felt:
    """What many more requests would feel if steps cost what they did before the first request, and nothing else did."""
    alone, slacks = trial.costs.remaining(keys, 0), asked.slacks
    arrivals = [Arrival(at, keys) for at in poisson(load / alone, asked.simulated * alone / load, 0)]
    batches = simulate(arrivals, scheduler, trial.costs, load)
    latencies = np.array([arrival.latency for arrival in arrivals])
    return felt(latencies, alone, slacks) | {"images_a_step": float(np.mean([len(batch) for batch in batches]))}


def simulations(trial: Trial, makers: Mapping[str, Callable[[], Scheduler]], asked: Asked) -> list[dict[str, Any]]:
    """Every scheduler at each load; and ours if any two images might share a step: what stages take from it."""
    keys = path_of(trial)
    told = {name: (keys, make) for name, make in makers.items()}
    ours = next(name for name in makers if name not in PEERS)
    told[f"{ours}, were it one stage"] = as_one_stage(keys, trial.costs), makers[ours]
    return [
        {"scheduler": name, "load": load, **by_costs(trial, keys, make(), load, asked)}
        for load in asked.loads
        for name in asked.schedulers_at(load, told)
        for keys, make in [told[name]]
    ]
