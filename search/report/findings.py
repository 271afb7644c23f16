"""What a finished search leaves: `schedule.json`, the log `search.json`, the error table."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from diffes.presets import build_schedule
from diffes.pruning.calibration import Calibration
from diffes.pruning.cost import plan_macs
from diffes.pruning.mode import Compensation
from diffes.schedule import Schedule, equal_intervals
from search.error_table import Errors
from search.evaluations import Evaluations
from search.genome import Genome
from search.memo import Memo
from search.problem import Problem
from search.report.log import circumstances, effort, finite, origin, space, write_json
from search.state import LOG_FILE, SCHEDULE_FILE, TABLE_FILE, SearchState


@dataclass(frozen=True)
class Findings:
    """A finished search: what it knows, what it is measured against and the genome it chose.

    `knapsack` is the error table's own answer, and `predicted` its objective as the table has it, where there is one.
    """

    problem: Problem
    state: SearchState
    memo: Memo
    held_out: Memo
    uniform: Genome
    knapsack: Genome | None
    predicted: float | None
    chosen: Genome
    calibration: Calibration
    evaluations: Evaluations

    def summary(self) -> str:
        """The result in one line."""
        ours, uniform = self.held_out[self.chosen], self.held_out[self.uniform]
        ratio = f", {ours / uniform:.2f} of the uniform schedule's" if isfinite(uniform) and uniform > 0 else ""
        budget, memory = self.problem.budget, self.problem.memory
        stored = f" weights {memory.of_dense(self.chosen):.3f} x dense's (at most {memory.limit:g});" if memory else ""
        return (
            f"found: {self.problem.options.objective} {ours:.3g} on held-out noise{ratio};"
            f" {budget.removed(self.chosen):.2%} of {budget.unit} removed (asked {self.problem.options.share:.2%});"
            f"{stored} {self.evaluations.total:.0f} evaluations"
        )


def write_report(findings: Findings, out: Path) -> Schedule:
    """The log, and last the schedule, whose presence says that the search is finished."""
    write_json(_log(findings), out / LOG_FILE)
    schedule = _schedule(findings)
    schedule.save(out / SCHEDULE_FILE)
    return schedule


def write_table(problem: Problem, measured: dict[str, float], errors: Errors, out: Path) -> None:
    """`table.json`: what was measured and what follows for every level."""
    options = problem.options
    curves = {problem.space.gene(gene).name: [finite(e) for e in row.tolist()] for gene, row in enumerate(errors)}
    document = {
        "method": options.table,
        "objective": options.objective,
        "images": options.table_probes,
        **space(problem),
        "levels": list(problem.table_levels),
        "measured": {name: finite(value) for name, value in measured.items()},
        "errors": curves,
    }
    write_json(document, out / TABLE_FILE)


def searched_schedule(
    problem: Problem, calibration: Calibration, genome: Genome, errors: Mapping[str, float]
) -> Schedule:
    """A genome as the schedule file, with where it came from; `errors` are what was found out about it, by name."""
    options = problem.options
    asked: list[JsonValue] = [*options.shares]
    found: dict[str, JsonValue] = {name: finite(value) for name, value in errors.items()}
    provenance: dict[str, JsonValue] = {
        "made_by": "search",
        "budget": options.cost,
        "asked": asked if options.front else options.share,
        "achieved": problem.budget.removed(genome),
        "method": options.method,
        "genes": options.genes,
        "widths": options.widths,
        "depth": options.depth,
        "objective": options.objective,
        **found,
        "genome": list(genome),
        **calibration.provenance,
    }
    if problem.memory is not None:
        provenance |= {"memory": options.memory, "weights_of_dense": problem.memory.of_dense(genome)}
    plans = problem.space.plans(genome)
    sampler = options.sampler_of(problem.checkpoint)
    return build_schedule(problem.checkpoint, sampler, plans, options.compensation, provenance)


def _schedule(findings: Findings) -> Schedule:
    held_out, uniform = findings.held_out, findings.uniform
    errors = {"held_out": held_out[findings.chosen], "uniform_held_out": held_out[uniform]}
    return searched_schedule(findings.problem, findings.calibration, findings.chosen, errors)


def _log(findings: Findings) -> dict[str, Any]:
    problem, state, budget = findings.problem, findings.state, findings.problem.budget
    return {
        **origin(problem, state),
        "budget": {
            "unit": f"{budget.unit} of one row's trajectory",
            "dense": budget.dense,
            "asked": problem.options.share,
            "achieved": budget.removed(findings.chosen),
            "reachable": budget.reachable / budget.dense,
            "executed_steps": problem.executed,
        },
        "knapsack": _knapsack(findings),
        "uniform": _reference(findings, findings.uniform),
        "generations": [generation.model_dump() for generation in state.generations],
        **effort(state, findings.memo, findings.evaluations),
        "finalists": [_reference(findings, genome) for genome, _ in findings.held_out.entries()],
        "chosen": list(findings.chosen),
        "stages": _stages(findings),
        **circumstances(state),
    }


def _knapsack(findings: Findings) -> dict[str, Any] | None:
    if findings.knapsack is None or findings.predicted is None:
        return None
    return _reference(findings, findings.knapsack) | {"predicted": finite(findings.predicted)}


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
        "objective": finite(memo[genome]) if genome in memo else None,
        "held_out": finite(held_out[genome]) if genome in held_out else None,
    }
