"""What a finished search of a front leaves: `pareto.json` and the log `search.json`."""

from dataclasses import dataclass
from functools import cached_property
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from diffes.pareto import ParetoFront, ParetoPoint
from diffes.pruning.calibration import Calibration
from search.archive import Point, archive_of, cheapest, typical_error
from search.evaluations import Evaluations
from search.front_population import FrontReferences
from search.genome import Genome
from search.ladder import Ladder
from search.memo import Memo
from search.problem import Problem
from search.report.findings import searched_schedule
from search.report.log import circumstances, effort, finite, origin, write_json
from search.state import FRONT_FILE, LOG_FILE, SearchState

_SAMPLED = 33  # shares over which a front's typical error is taken


@dataclass(frozen=True)
class FrontFindings:
    """A finished search of a front: the archive on the probes, and the front that held-out probes made of it."""

    problem: Problem
    state: SearchState
    ladder: Ladder
    references: FrontReferences
    archive: list[Point]
    held_out: Memo
    front: list[Point]
    calibration: Calibration
    evaluations: Evaluations

    @cached_property
    def memo(self) -> Memo:
        """Objectives on the probes."""
        return self.ladder.memo

    @property
    def uniforms(self) -> list[Genome]:
        """Uniform schedules, least saving to largest."""
        return sorted(self.references.uniforms, key=self.problem.budget.saved)

    def ratios(self) -> list[tuple[float, float]]:
        """(share removed, the front's error over the uniform schedule's), on held-out noise, where both are known."""
        budget, found = self.problem.budget, list[tuple[float, float]]()
        for genome in self.uniforms:
            ours = cheapest(self.front, self.problem.budgets.counted(genome))
            if ours is not None and 0 < self.held_out[genome] < inf:
                found.append((budget.removed(genome), ours.error / self.held_out[genome]))
        return found

    def summary(self) -> str:
        """The result in one line."""
        budget = self.problem.budget
        first, last = (budget.removed(point.genome) for point in (self.front[0], self.front[-1]))
        ratios = ", ".join(f"{ratio:.2f} at {share:.0%}" for share, ratio in self.ratios())
        compared = f"; {self.problem.options.objective} on held-out noise over uniform's: {ratios}" if ratios else ""
        return (
            f"found: a front of {len(self.front)} schedules from {first:.2%} to {last:.2%} of {budget.unit} removed"
            f"{compared}; {self.evaluations.total:.0f} evaluations"
        )


def write_front(findings: FrontFindings, out: Path) -> ParetoFront:
    """The log, and last the front, whose presence says that the search is finished."""
    write_json(_log(findings), out / LOG_FILE)
    options, problem = findings.problem.options, findings.problem
    front = ParetoFront(
        model=problem.checkpoint.identity,
        sampler=options.sampler_of(problem.checkpoint),
        unit=problem.budget.unit,
        shares=options.shares,
        points=tuple(_point(findings, point.genome) for point in findings.front),
        uniform=tuple(_point(findings, genome) for genome in findings.uniforms),
    )
    front.save(out / FRONT_FILE)
    return front


def _point(findings: FrontFindings, genome: Genome) -> ParetoPoint:
    problem, budget, held_out = findings.problem, findings.problem.budget, findings.held_out[genome]
    return ParetoPoint(
        removed=budget.removed(genome),
        cost=budget.dense - budget.saved(genome),
        objective=_judged(findings, genome),
        held_out=finite(held_out),
        schedule=searched_schedule(problem, findings.calibration, genome, {"held_out": held_out}),
    )


def _judged(findings: FrontFindings, genome: Genome) -> float | None:
    return finite(findings.memo[genome]) if genome in findings.memo else None


def _log(findings: FrontFindings) -> dict[str, Any]:
    problem, state, budget = findings.problem, findings.state, findings.problem.budget
    return {
        **origin(problem, state),
        "budget": {
            "unit": f"{budget.unit} of one row's trajectory",
            "dense": budget.dense,
            "asked": problem.options.shares,
            "reachable": budget.reachable / budget.dense,
            "executed_steps": problem.executed,
        },
        "knapsack": [
            _reference(findings, genome) for genome in sorted(findings.references.knapsacks, key=budget.saved)
        ],
        "uniforms": [_reference(findings, genome) for genome in findings.uniforms],
        "generations": _generations(findings),
        **effort(state, findings.memo, findings.evaluations),
        "judged": [(budget.removed(genome), error) for genome, error in findings.memo.entries() if error is not None],
        "archive": [_reference(findings, point.genome) for point in findings.archive],
        "front": [
            _reference(findings, point.genome) | {"by_stage": _removed_by_stage(problem, point.genome)}
            for point in findings.front
        ],
        "over_uniform": [{"removed": share, "ratio": ratio} for share, ratio in findings.ratios()],
        **circumstances(state),
    }


def _generations(findings: FrontFindings) -> list[dict[str, Any]]:
    """How far the front on the probes had come after every generation: its points, and its typical error.

    That error is the geometric mean, over the savings asked for, of the least error that saves so much.
    """
    budgets = findings.problem.budgets
    savings = np.linspace(budgets.low.wanted, budgets.high.wanted, _SAMPLED).tolist()
    found = []
    for generation in findings.state.generations:
        seen = set(findings.ladder.first(generation.schedules))
        judged = ((genome, error) for genome, error in findings.memo.entries() if genome in seen)
        archive = archive_of(judged, budgets.counted)
        front = {"points": len(archive), "typical_error": typical_error(archive, savings)}
        found.append(generation.model_dump(include={"number", "schedules", "evaluations", "seconds"}) | front)
    return found


def _reference(findings: FrontFindings, genome: Genome) -> dict[str, Any]:
    return {
        "genome": list(genome),
        "removed": findings.problem.budget.removed(genome),
        "objective": _judged(findings, genome),
        "held_out": finite(findings.held_out[genome]) if genome in findings.held_out else None,
    }


def _removed_by_stage(problem: Problem, genome: Genome) -> list[float]:
    """Share of its own dense cost that each stage removes; 0 for one without steps."""
    budget, size, total = problem.budget, problem.space.genes_of_stage, len(problem.step_stages)
    saved = budget.savings[np.arange(len(genome)), genome].reshape(-1, size).sum(axis=1)
    dense = [budget.dense * steps / total for steps in problem.executed]
    return [float(s / d) if d else 0.0 for s, d in zip(saved, dense, strict=True)]
