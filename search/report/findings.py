"""What a finished search leaves: `schedule.json`, the log `search.json`, the error table."""

import json
import platform
from dataclasses import dataclass
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from pydantic import JsonValue

import diffes
from diffes.files import write_text_atomically
from diffes.presets import build_schedule
from diffes.pruning.calibration import Calibration
from diffes.pruning.cost import plan_macs
from diffes.pruning.mode import Compensation
from diffes.schedule import Schedule, equal_intervals
from search.error_table import Errors
from search.evaluations import Evaluations
from search.genome import Genome
from search.memo import Memo
from search.population import References
from search.problem import Problem
from search.state import LOG_FILE, SCHEDULE_FILE, TABLE_FILE, SearchState

_VERSIONS = ("torch", "numpy", "pygad")


@dataclass(frozen=True)
class Findings:
    """A finished search: what it knows, its two references and the genome it chose."""

    problem: Problem
    state: SearchState
    memo: Memo
    held_out: Memo
    references: References
    predicted: float
    chosen: Genome
    calibration: Calibration
    evaluations: Evaluations

    def summary(self) -> str:
        """The result in one line."""
        ours, uniform = self.held_out[self.chosen], self.held_out[self.references.uniform]
        ratio = f", {ours / uniform:.2f} of the uniform schedule's" if isfinite(uniform) and uniform > 0 else ""
        budget = self.problem.budget
        return (
            f"found: {self.problem.options.objective} {ours:.3g} on held-out noise{ratio};"
            f" {budget.removed(self.chosen):.2%} of {budget.unit} removed (asked {self.problem.options.share:.2%});"
            f" {self.evaluations.total:.0f} evaluations"
        )


def write_report(findings: Findings, out: Path) -> Schedule:
    """The log, and last the schedule, whose presence says that the search is finished."""
    _write_json(_log(findings), out / LOG_FILE)
    schedule = _schedule(findings)
    schedule.save(out / SCHEDULE_FILE)
    return schedule


def write_table(problem: Problem, measured: dict[str, float], errors: Errors, out: Path) -> None:
    """`table.json`: what was measured and what follows for every level."""
    options = problem.options
    curves = {problem.space.gene(gene).name: [_finite(e) for e in row.tolist()] for gene, row in enumerate(errors)}
    document = {
        "method": options.table,
        "objective": options.objective,
        "images": options.table_probes,
        "dense_macs": problem.dense_macs,
        "parts": problem.space.grid.parts,
        "groups": list(problem.space.groups),
        "executed_steps": problem.executed,
        "levels": list(problem.table_levels),
        "measured": {name: _finite(value) for name, value in measured.items()},
        "errors": curves,
    }
    _write_json(document, out / TABLE_FILE)


def _schedule(findings: Findings) -> Schedule:
    problem, options = findings.problem, findings.problem.options
    provenance: dict[str, JsonValue] = {
        "made_by": "search",
        "budget": options.cost,
        "asked": options.share,
        "achieved": problem.budget.removed(findings.chosen),
        "genes": options.genes,
        "widths": options.widths,
        "depth": options.depth,
        "objective": options.objective,
        "held_out": _finite(findings.held_out[findings.chosen]),
        "uniform_held_out": _finite(findings.held_out[findings.references.uniform]),
        "genome": list(findings.chosen),
        **findings.calibration.provenance,
    }
    plans = problem.space.plans(findings.chosen)
    sampler = options.sampler_of(problem.checkpoint)
    return build_schedule(problem.checkpoint, sampler, plans, options.compensation, provenance)


def _log(findings: Findings) -> dict[str, Any]:
    problem, state, budget = findings.problem, findings.state, findings.problem.budget
    return {
        "format": 1,
        "options": problem.options.model_dump(),
        "model": state.model.model_dump(by_alias=True),
        "stopped": state.stopped,
        "reproducible": state.stopped == "generations" and len(state.table) == sum(map(len, problem.passes)),
        "budget": {
            "unit": f"{budget.unit} of one row's trajectory",
            "dense": budget.dense,
            "asked": problem.options.share,
            "achieved": budget.removed(findings.chosen),
            "reachable": budget.reachable / budget.dense,
            "executed_steps": problem.executed,
        },
        "knapsack": _reference(findings, findings.references.knapsack) | {"predicted": _finite(findings.predicted)},
        "uniform": _reference(findings, findings.references.uniform),
        "generations": [generation.model_dump() for generation in state.generations],
        "schedules": {
            "seen": state.generations[-1].schedules if state.generations else 0,
            "judged": len(findings.memo),
        },
        "evaluations": findings.evaluations.report(),
        "excluded": findings.memo.excluded,
        "finalists": [_reference(findings, genome) for genome, _ in findings.held_out.entries()],
        "chosen": list(findings.chosen),
        "stages": _stages(findings),
        "seconds": state.seconds,
        "code": state.code,
        "versions": {"diffes": diffes.__version__, **{name: version(name) for name in _VERSIONS}},
        "machine": {
            "device": problem.options.device,
            "threads": torch.get_num_threads(),
            "platform": platform.platform(),
            "python": platform.python_version(),
        },
    }


def _stages(findings: Findings) -> list[dict[str, Any]]:
    """What every stage of the chosen schedule costs one row, all its steps: MACs, and the unit of the budget."""
    problem, budget = findings.problem, findings.problem.budget
    architecture, mode = problem.checkpoint.architecture, Compensation.parse(problem.options.compensation)
    intervals = equal_intervals(problem.checkpoint.train_timesteps, problem.space.stages)
    per_step, size = budget.dense // sum(problem.executed), problem.space.genes_of_stage
    stages = []
    for number, (plan, steps) in enumerate(zip(problem.space.plans(findings.chosen), problem.executed, strict=True)):
        own = range(number * size, (number + 1) * size)
        saved = sum(int(budget.savings[gene, findings.chosen[gene]]) for gene in own)
        stages.append(
            {
                "high": intervals[number][0],
                "low": intervals[number][1],
                "steps": steps,
                "dense_macs": steps * problem.dense_macs,
                "macs": steps * plan_macs(architecture, plan, mode),
                "dense_cost": steps * per_step,
                "cost": steps * per_step - saved,
            }
        )
    return stages


def _reference(findings: Findings, genome: Genome) -> dict[str, Any]:
    memo, held_out = findings.memo, findings.held_out
    return {
        "genome": list(genome),
        "removed": findings.problem.budget.removed(genome),
        "objective": _finite(memo[genome]) if genome in memo else None,
        "held_out": _finite(held_out[genome]) if genome in held_out else None,
    }


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None


def _write_json(document: object, path: Path) -> None:
    write_text_atomically(path, json.dumps(document, indent=1) + "\n")
