"""What a search works on, once the checkpoint and the options are known: genome space, budget, model, trajectory."""

import hashlib
from dataclasses import dataclass
from math import inf
from pathlib import Path

import torch
from pydantic import JsonValue

from diffes.checkpoint import Checkpoint
from diffes.errors import SearchError
from diffes.precision import dtype_of
from diffes.pruning.calibration import Calibration
from diffes.pruning.mode import Compensation
from diffes.pruning.model import PrunedModel
from diffes.sampling import Trajectory, trajectory
from diffes.schedule import Schedule, equal_intervals, stage_index
from search.budget import Budget, budget_for
from search.budget_range import BudgetRange
from search.costs import PlanLatency, cost_of
from search.error_table import Errors, TableEntry, table_passes
from search.fitness import Distance
from search.genome import Genome, GenomeSpace
from search.memo import code_version, memo_key
from search.memory import MemoryLimit
from search.objectives import Objective, objective_for
from search.options import SearchOptions
from search.rollouts import Probes, Rollouts, Teacher

# options that change what a genome's objective is, its probes aside
_CONDITIONS = {
    *("genes", "widths", "depth", "stages", "guidance", "compensation"),
    *("objective", "features", "seed", "probes", "batch", "dtype", "threads"),
}


@dataclass(frozen=True)
class Problem:
    """Everything that needs no denoiser; `executed` counts the steps of each stage.

    `budget` asks for the least share of the options, `budgets` for all of them.
    """

    checkpoint: Checkpoint
    options: SearchOptions
    space: GenomeSpace
    budget: Budget
    path: Trajectory
    step_stages: tuple[int, ...]
    table_levels: tuple[int, ...]
    objective: Objective
    memory: MemoryLimit | None = None

    @classmethod
    def of(cls, checkpoint: Checkpoint, options: SearchOptions, latency: PlanLatency | None = None) -> "Problem":
        """SearchError for a budget out of reach or genes that cannot be laid out, before anything is run.

        InvalidInput or QualityError for an objective that cannot judge this model.
        """
        sampler = options.sampler_of(checkpoint)
        path = trajectory(sampler.class_name, checkpoint.scheduler_config, sampler.steps)
        intervals = equal_intervals(checkpoint.train_timesteps, options.stages)
        step_stages = tuple(stage_index(intervals, timestep) for timestep in path.timesteps)
        dense = checkpoint.architecture.dense
        space = GenomeSpace.of(dense, options.stages, options.genes, options.widths, options.depth)
        executed = [step_stages.count(stage) for stage in range(options.stages)]
        cost = cost_of(checkpoint, options, latency)
        budget = budget_for(space, cost.of, executed, options.shares.high, cost.unit).asking(options.shares.low)
        levels = options.measured_levels(space.top)
        objective = objective_for(
            options.objective,
            checkpoint,
            features=Path(options.features) if options.features else None,
            probes=min(options.table_probes, *(rung.stop - rung.start for rung in options.rungs)),
            device=options.device,
            batch=options.batch,
        )
        memory = None
        if options.memory is not None:
            memory = MemoryLimit(checkpoint, space, Compensation.parse(options.compensation), options.memory)
        return cls(checkpoint, options, space, budget, path, step_stages, levels, objective, memory)

    @property
    def budgets(self) -> BudgetRange:
        """The budgets of a Pareto front, least saving to largest."""
        return BudgetRange(self.budget, self.budget.asking(self.options.shares.high))

    def affordable(self, errors: Errors) -> Budget:
        """The budget with the levels left that the memory limit allows together, those of least error.

        SearchError if the limit cannot be kept, whatever the errors.
        """
        return self.budget if self.memory is None else self.memory.within(errors, self.budget)

    def fits(self, genome: Genome) -> bool:
        """Whether a genome is within the memory limit."""
        return self.memory is None or self.memory.holds(genome)

    @property
    def executed(self) -> list[int]:
        """Steps the sampler runs in each stage."""
        return [self.step_stages.count(stage) for stage in range(self.space.stages)]

    @property
    def passes(self) -> list[list[TableEntry]]:
        """The error table's entries, pass by pass; none for a method that measures no table."""
        if self.options.method != "evolution":
            return []
        return table_passes(self.space, sorted(set(self.step_stages)), self.table_levels, self.options.table)

    def rollouts(self, calibration: Calibration) -> Rollouts:
        """The pruned model and how probes run on it."""
        options, architecture = self.options, self.checkpoint.architecture
        weights = self.checkpoint.weights()
        dtype = dtype_of(options.dtype)
        compensation, device = options.compensation, torch.device(options.device)
        model = PrunedModel(architecture, weights, calibration, compensation, device=device, dtype=dtype)
        examples = self.checkpoint.wording.examples
        return Rollouts(model, examples, self.path, options.guidance, self.step_stages, options.batch, options.dtype)

    def distance(self, rollouts: Rollouts, *, held_out: bool = False) -> Distance:
        """The objective on the search's probes, or on the held-out ones; rolls the dense model out."""
        probes = Probes.drawn(self.options.probes, self.options.seed, rollouts, held_out=held_out)
        return self.distance_to(Teacher.of(rollouts, probes), rollouts)

    def distance_to(self, teacher: Teacher, rollouts: Rollouts) -> Distance:
        """The objective on the probes of a teacher that was rolled out before."""
        clip = inf if self.checkpoint.vae_folder else 1.0
        return Distance(self.space, rollouts, teacher, self.objective, clip)

    def genome(self, schedule: Schedule) -> Genome:
        """A schedule of this model as a genome; genes of stages without a step are 0, whatever it keeps there.

        Its stages may be cut otherwise, as long as every stage here has one plan. SearchError or ScheduleError for
        what this space cannot say, ScheduleError for another model.
        """
        dense = self.space.grid.dense
        schedule.require_fit(self.checkpoint.identity, dense, self.checkpoint.train_timesteps)
        plans = []
        for number, (high, low) in enumerate(equal_intervals(self.checkpoint.train_timesteps, self.space.stages)):
            found = {stage.blocks for stage in schedule.stages if stage.low <= high and stage.high >= low}
            if self.executed[number] and len(found) > 1:
                raise SearchError(
                    "the schedule changes its plan within a stage",
                    expected=f"one plan from timestep {high} to {low}",
                    found=f"{len(found)} plans",
                    remedy=f"Search with stages like the schedule's {len(schedule.stages)}.",
                )
            plans.append(found.pop() if self.executed[number] else dense)
        return self.space.genome(plans)

    @property
    def dense_macs(self) -> int:
        """MACs of one row of one dense step: one evaluation."""
        return self.checkpoint.architecture.macs(self.space.grid.dense)

    @property
    def budget_digest(self) -> str:
        """What tells budgets apart that the options call by one name: measured latencies change."""
        digest = hashlib.sha256(self.budget.savings.tobytes())
        digest.update(f"{self.budget.dense} {self.budget.wanted} {self.budget.unit}".encode())
        return digest.hexdigest()

    def memo_key(self, calibration: Calibration, rows: slice, *, held_out: bool = False) -> str:
        """The name of objectives on some of the probes."""
        options = self.options.model_dump(mode="json", include=_CONDITIONS)
        conditions: dict[str, JsonValue] = {
            "code": code_version(),
            "device": self.options.device_kind,
            "model": self.checkpoint.identity.fingerprint,
            "calibration": [calibration.spec.digest(calibration.fingerprint), calibration.ordering_digest],
            "sampler": self.options.sampler_of(self.checkpoint).model_dump(mode="json"),
            "probes": ["held out" if held_out else "search", rows.start, rows.stop],
        }
        return memo_key(options | conditions)
