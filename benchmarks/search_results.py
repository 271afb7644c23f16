"""What `search_methods.py` leaves and `quality_table.py` reads: one JSON file a search; which searches there are."""

import json
import platform
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from diffes.checkpoint import Checkpoint
from diffes.errors import SearchError
from diffes.files import write_text_atomically
from diffes.pruning.cost import weights_of_dense
from diffes.pruning.mode import Compensation
from diffes.schedule import Schedule
from search.memo import code_version
from search.options import SearchOptions
from search.presets import preset

# shares of MACs removed, the most telling first: what uniform 3/8, 2/8, 4/8 and 5/8 remove of the bundled model,
# rounded down. At 3/8 itself, tied widths would have to give a level more, 1.2 % of all, where separate ones give 0.2 %
BUDGETS = (0.3747, 0.2498, 0.4997, 0.6246)
SEEDS = (0, 1, 2)
# every method searches by this; what they found by mse is in benchmarks/results/search_methods_mse (docs/quality.md)
OBJECTIVE = "features"
# beside the thorough preset of each method
METHODS: dict[str, dict[str, Any]] = {
    "ours": {"method": "evolution"},
    "ours-groups": {"method": "evolution", "genes": "group:4"},
    "ours-stages": {"method": "evolution", "genes": "stage"},
    "diff-es": {"method": "diff-es"},
    "mosaic": {"method": "mosaic"},
    "uniform": {"method": "uniform"},
    "random": {"method": "random"},
}
# ours under other compensations, or full compensation within a multiple of the dense model's memory
MODES: dict[str, dict[str, Any]] = {
    "none": {"method": "evolution", "compensation": "none"},
    "bias": {"method": "evolution", "compensation": "bias"},
    "low-rank": {"method": "evolution", "compensation": "low-rank:16"},
    "within-1.1": {"method": "evolution", "memory": 1.1},
    "within-1.2": {"method": "evolution", "memory": 1.2},
}
RUNS = METHODS | MODES
FIXED = ("mosaic", "uniform")  # make their one schedule without looking at a probe: one seed tells all
# options that change how fast a search is, not what it is
_PLACE = {"device", "threads", "batch", "time_limit"}


@dataclass(frozen=True)
class Run:
    """One search: a method or a mode of ours, a budget in MACs and a seed."""

    method: str
    budget: float
    seed: int

    @property
    def name(self) -> str:
        """Of its result file and of the folder it searches in."""
        return f"{self.method}_{self.budget:g}_seed{self.seed}"

    def options(self, common: dict[str, Any]) -> SearchOptions:
        """The method's own options, `common` ones over them."""
        own = RUNS[self.method]
        shared = {"objective": OBJECTIVE, "macs": self.budget, "seed": self.seed}
        document = {**preset(own["method"], "thorough"), **own, **shared}
        return SearchOptions.checked(document | common)


def runs_of(methods: Iterable[str], budgets: Iterable[float], seeds: Iterable[int]) -> list[Run]:
    """All runs, the most important first: every method at the first budget and seed, then budgets, then seeds."""
    runs = (Run(method, budget, seed) for seed in seeds for budget in budgets for method in methods)
    return [run for run in runs if run.seed in seeds_of(run.method)]


def seeds_of(method: str) -> tuple[int, ...]:
    """The seeds a method is run with."""
    return SEEDS[:1] if method in FIXED else SEEDS


class Results:
    """A folder of results."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, run: Run) -> Path:
        """Where a run's result lies."""
        return self.folder / f"{run.name}.json"

    def load(self, run: Run, options: SearchOptions | None = None) -> dict[str, Any] | None:
        """A run's result, None if there is none yet; SearchError if it was made under other options."""
        path = self.path(run)
        if not path.exists():
            return None
        result: dict[str, Any] = json.loads(path.read_text())
        if options is not None:
            found = SearchOptions.checked({**result["options"], **options.model_dump(include=_PLACE)})
            difference = found.difference(options)
            if difference:
                raise SearchError(
                    f"{path} was made under other options",
                    expected="the options of this command",
                    found=difference,
                    remedy="Write into another folder, or give the options it was made under.",
                )
        return result

    def save(self, run: Run, result: dict[str, Any]) -> None:
        """Write a result, whole or not at all."""
        write_text_atomically(self.path(run), json.dumps(result, indent=1) + "\n")

    def all(self) -> Iterator[tuple[Run, dict[str, Any]]]:
        """Every result in the folder, by name."""
        for path in sorted(self.folder.glob("*_seed*.json")):
            result = json.loads(path.read_text())
            yield Run(result["method"], result["budget"], result["seed"]), result


def result_of(run: Run, search: Path, machine: dict[str, Any], checkpoint: Checkpoint) -> dict[str, Any]:
    """What is kept of a finished search's folder, and what its schedule stores."""
    schedule, log = Schedule.load(search / "schedule.json"), json.loads((search / "search.json").read_text())
    chosen = next(finalist for finalist in log["finalists"] if finalist["genome"] == log["chosen"])
    trace = ("number", "evaluations", "best", "schedules", "seconds")
    return {
        "format": 1,
        "method": run.method,
        "budget": run.budget,
        "seed": run.seed,
        "objective": log["options"]["objective"],
        "best": log["generations"][-1]["best"],
        "held_out": chosen["held_out"],
        "uniform_held_out": log["uniform"]["held_out"],
        "macs_removed": schedule.cost.macs_removed,
        "weights_of_dense": weights_of_dense(checkpoint, schedule.plans, Compensation.parse(schedule.compensation)),
        "evaluations": log["evaluations"],
        "schedules": log["schedules"],
        "trace": [{name: generation[name] for name in trace} for generation in log["generations"]],
        "stopped": log["stopped"],
        "seconds": log["seconds"],
        "options": log["options"],
        "machine": machine,
        "code": code_version(),
        "schedule": schedule.model_dump(mode="json", by_alias=True),
        "evaluation": None,
    }


def machine_of(device: str, command: str, *, tf32: bool) -> dict[str, Any]:
    """What figures were taken on."""
    on_gpu = device.startswith("cuda")
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu else f"CPU, {torch.get_num_threads()} threads",
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "tf32": tf32,
        "command": command,
    }
