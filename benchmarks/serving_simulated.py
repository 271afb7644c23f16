"""The schedulers of serving_load.py by simulation, over more arrivals than a machine can be lent for.

    python benchmarks/serving_simulated.py RESULT.json --requests 10000

does it again at the costs in a result of serving_load.py, and writes it there.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track
from serving_schedulers import Maker, policy_of, schedulers
from serving_statistics import Felt, felt
from serving_trial import poisson

from diffes.engine.costs import StepCosts
from diffes.engine.scheduling import BatchKey
from diffes.engine.simulation import Arrival, simulate
from diffes.files import write_text_atomically

Keys = tuple[BatchKey, ...]


def told_of(keys: Keys, costs: StepCosts) -> dict[str, Any]:
    """What a result says of a path and its steps' costs: all that a simulation needs."""
    path = {"subgraphs": [key.subgraph for key in keys], "guided": keys[0].guided}
    return {"costs": costs.measured, "buckets": list(costs.buckets), "path": path}


def _costs_of(result: dict[str, Any]) -> StepCosts:
    measured = {
        subgraph: {int(rows): seconds for rows, seconds in by_rows.items()}
        for subgraph, by_rows in result["costs"].items()
    }
    return StepCosts(measured, result["buckets"])


def as_one_stage(keys: Keys, costs: StepCosts) -> Keys:
    """As many steps that all need what the one whose cost is nearest to their average does."""
    average = costs.remaining(keys, 0) / len(keys)
    nearest = min(keys, key=lambda key: abs(costs.seconds(key.subgraph, key.rows(1)) - average))
    return (nearest,) * len(keys)


def simulations(result: dict[str, Any], requests: int) -> list[dict[str, Any]]:
    """Every scheduler at each load that it met; and ours if any two images might share a step: what stages take.

    What many more requests would feel if steps cost what they did before the first request, and nothing else did.
    """
    costs, path = _costs_of(result), result["path"]
    keys = tuple(BatchKey(subgraph, path["guided"], (), 0.0) for subgraph in path["subgraphs"])
    slacks = [float(slack) for slack in result["loads"][0]["good"]]
    met = [(each["scheduler"], each["load"]) for each in result["loads"]]
    makers = schedulers(result["most"], [policy for name, _ in met if (policy := policy_of(name))])
    told = {name: (keys, make) for name, make in makers.items()}
    for name in filter(policy_of, makers):
        told[_undivided(name)] = as_one_stage(keys, costs), makers[name]
    met += [(_undivided(name), load) for name, load in met if policy_of(name)]
    return [
        {"scheduler": name, "load": load, **_felt(*told[name], costs, load, slacks, requests)}
        for name, load in track(sorted(met, key=lambda each: (each[1], list(told).index(each[0]))), "simulating")
    ]


def _undivided(name: str) -> str:
    return f"{name}, were it one stage"


def _felt(
    keys: Keys,
    make: Maker,
    costs: StepCosts,
    load: float,
    slacks: Sequence[float],
    requests: int,
) -> Felt:
    alone = costs.remaining(keys, 0)
    arrivals = [Arrival(at, keys) for at in poisson(load / alone, requests * alone / load, 0)]
    batches = simulate(arrivals, make(costs), costs, load)
    latencies = np.array([arrival.latency for arrival in arrivals])
    return felt(latencies, alone, slacks) | {"images_a_step": float(np.mean([len(batch) for batch in batches]))}


def main() -> None:
    """Simulate, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=Path)
    parser.add_argument("--requests", type=int, default=10_000, help="at each load")
    options = parser.parse_args()
    result = json.loads(options.result.read_text())
    result["simulated"] = simulations(result, options.requests)
    write_text_atomically(options.result, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
