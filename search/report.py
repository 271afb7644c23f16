"""What a finished search leaves: `schedule.json`, the log `search.json`, the error table, the picture."""

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from pydantic import JsonValue

from diffes.files import write_text_atomically
from diffes.presets import build_schedule
from diffes.pruning.calibration import Calibration
from diffes.schedule import Schedule
from search.error_table import Errors
from search.evaluations import Evaluations
from search.genome import Genome
from search.memo import Memo
from search.plots import Picture, save_plot
from search.problem import Problem
from search.state import LOG_FILE, PLOT_FILE, SCHEDULE_FILE, TABLE_FILE, SearchState


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
        budget = self.problem.budget
        return (
            f"found: {self.problem.options.objective} {ours:.3g} on held-out noise{ratio};"
            f" {budget.removed(self.chosen):.2%} of {budget.unit} removed (asked {self.problem.options.share:.2%});"
            f" {self.evaluations.total:.0f} evaluations"
        )


def write_report(findings: Findings, out: Path) -> Schedule:
    """Log, picture, and last the schedule, whose presence says that the search is finished."""
    write_json(_log(findings), out / LOG_FILE)
    save_plot(_picture(findings), out / PLOT_FILE)
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
        **circumstances(state),
    }


def origin(problem: Problem, state: SearchState) -> dict[str, Any]:
    """What was asked of a search, and whether asking again gives the same."""
    return {
        "format": 1,
        "options": problem.options.model_dump(),
        "model": state.model.model_dump(by_alias=True),
        "stopped": state.stopped,
        "reproducible": state.stopped == "generations" and len(state.table) == sum(map(len, problem.passes)),
    }


def effort(state: SearchState, memo: Memo, evaluations: Evaluations) -> dict[str, Any]:
    """What a search ran."""
    seen = state.generations[-1].schedules if state.generations else 0
    return {
        "schedules": {"seen": seen, "judged": len(memo)},
        "evaluations": evaluations.report(),
        "excluded": memo.excluded,
    }


def circumstances(state: SearchState) -> dict[str, Any]:
    """How long a search took, and on what."""
    machine = {"torch": torch.__version__, "threads": torch.get_num_threads(), "platform": platform.platform()}
    return {"seconds": state.seconds, "machine": machine}


def _knapsack(findings: Findings) -> dict[str, Any] | None:
    if findings.knapsack is None or findings.predicted is None:
        return None
    return _reference(findings, findings.knapsack) | {"predicted": finite(findings.predicted)}


def _reference(findings: Findings, genome: Genome) -> dict[str, Any]:
    memo, held_out = findings.memo, findings.held_out
    return {
        "genome": list(genome),
        "removed": findings.problem.budget.removed(genome),
        "objective": finite(memo[genome]) if genome in memo else None,
        "held_out": finite(held_out[genome]) if genome in held_out else None,
    }


def _picture(findings: Findings) -> Picture:
    problem, memo = findings.problem, findings.memo
    known = {"uniform": findings.uniform}
    if findings.knapsack is not None:
        known["error table's knapsack"] = findings.knapsack
    return Picture(
        objectives=memo.objectives(),
        references={name: memo[genome] for name, genome in known.items() if genome in memo and isfinite(memo[genome])},
        objective=problem.options.objective,
        genome=findings.chosen,
        space=problem.space,
        executed=problem.executed,
        removed=problem.budget.removed(findings.chosen),
        unit=problem.budget.unit,
    )


def finite(value: float) -> float | None:
    """The value, None for what JSON cannot say."""
    return value if isfinite(value) else None


def write_json(document: object, path: Path) -> None:
    """Write a document, whole or not at all."""
    write_text_atomically(path, json.dumps(document, indent=1) + "\n")
