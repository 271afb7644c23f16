"""What a search works on, once the checkpoint and the options are known: genome space, budget, model, trajectory."""

from dataclasses import dataclass
from math import inf

import torch

from diffes.checkpoint import Checkpoint
from diffes.errors import SearchError
from diffes.levels import LevelGrid
from diffes.pruning.calibration import Calibration
from diffes.pruning.model import PrunedModel
from diffes.sampling import Trajectory, trajectory
from diffes.schedule import equal_intervals, stage_index
from search.budget import Budget, budget_for
from search.error_table import Entry, table_passes
from search.fitness import Distance
from search.genome import GenomeSpace
from search.objectives import OBJECTIVES
from search.options import SearchOptions
from search.rollouts import Probes, Rollouts, Teacher

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Problem:
    """Everything that needs no weights; `executed` counts the steps of each stage."""

    checkpoint: Checkpoint
    options: SearchOptions
    space: GenomeSpace
    budget: Budget
    path: Trajectory
    step_stages: tuple[int, ...]
    table_levels: tuple[int, ...]

    @classmethod
    def of(cls, checkpoint: Checkpoint, options: SearchOptions) -> "Problem":
        """SearchError for a budget out of reach or a table off the grid, before anything is run."""
        sampler = options.sampler_of(checkpoint)
        path = trajectory(sampler.class_name, checkpoint.scheduler_config, sampler.steps)
        intervals = equal_intervals(checkpoint.train_timesteps, options.stages)
        step_stages = tuple(stage_index(intervals, timestep) for timestep in path.timesteps)
        architecture = checkpoint.architecture
        space = GenomeSpace(LevelGrid.of(architecture.dense), options.stages)
        executed = [step_stages.count(stage) for stage in range(options.stages)]
        budget = budget_for(space, architecture.macs, executed, options.macs)
        levels = options.measured_levels(space.grid.parts)
        return cls(checkpoint, options, space, budget, path, step_stages, levels)

    @property
    def executed(self) -> list[int]:
        """Steps the sampler runs in each stage."""
        return [self.step_stages.count(stage) for stage in range(self.space.stages)]

    @property
    def passes(self) -> list[list[Entry]]:
        """The error table's entries, pass by pass."""
        return table_passes(sorted(set(self.step_stages)), self.table_levels, self.options.table)

    def rollouts(self, calibration: Calibration) -> Rollouts:
        """The pruned model and how probes run on it."""
        options, architecture = self.options, self.checkpoint.architecture
        state = self.checkpoint.denoiser_state()
        weights = {name: tensor.float() for name, tensor in architecture.convert(state).items()}
        dtype = _DTYPES[options.dtype]
        compensation, device = options.compensation, torch.device(options.device)
        model = PrunedModel(architecture, weights, calibration, compensation, device=device, dtype=dtype)
        return Rollouts(model, self.path, options.guidance, self.step_stages, options.batch)

    def distance(self, rollouts: Rollouts, *, held_out: bool = False) -> Distance:
        """The objective on the search's probes, or on the held-out ones; rolls the dense model out."""
        probes = Probes.drawn(self.options.probes, self.options.seed, rollouts, held_out=held_out)
        clip = inf if self.checkpoint.vae_folder else 1.0
        objective = OBJECTIVES[self.options.objective]
        return Distance(self.space, rollouts, Teacher.of(rollouts, probes), objective, clip)


def require_device(name: str) -> None:
    """SearchError if torch cannot use the device."""
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:  # a torch built without CUDA asserts
        raise SearchError(
            "the device cannot be used", expected="cpu, or a CUDA device torch sees", found=f"{name} ({error})"
        ) from error
