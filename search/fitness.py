"""The distance a search minimises: a schedule's final samples to the dense model's, from the same noise."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import nan
from typing import Protocol

import torch
from torch import Tensor

from diffes.schedule import StagePlan
from search.genome import Genome, GenomeSpace
from search.objectives import Objective
from search.rollouts import Rollouts, Teacher


@dataclass(frozen=True)
class Distance:
    """Objective of genomes on a teacher's probes; `clip` bounds what is compared (pixels: 1)."""

    space: GenomeSpace
    rollouts: Rollouts
    teacher: Teacher
    objective: Objective
    clip: float

    def __call__(self, genome: Sequence[int]) -> float:
        """Roll a genome out, from the first step that is not dense on; nan if the samples are not finite."""
        keys = self._keys(genome)
        start = self._first_pruned(keys)
        if start == len(keys):
            return 0.0
        final = self.rollouts.run(keys, self.teacher.states[start], self.teacher.prompts).latents
        return self.between(final, self.teacher.final)

    def work(self, genome: Sequence[int]) -> int:
        """MACs of that rollout."""
        keys = self._keys(genome)
        return self.rollouts.work(keys, len(self.teacher.prompts), self._first_pruned(keys))

    def rows(self, rows: slice) -> "Distance":
        """The same on some of the probes."""
        return replace(self, teacher=self.teacher.rows(rows))

    def between(self, samples: Tensor, dense: Tensor) -> float:
        """Objective of final latents [N, C, h, w]; nan if one is not finite, which clipping would hide."""
        if not bool(torch.isfinite(samples).all()):
            return nan
        return self.objective(samples.clamp(-self.clip, self.clip), dense.clamp(-self.clip, self.clip))

    def _keys(self, genome: Sequence[int]) -> list[StagePlan]:
        plans = self.space.plans(genome)
        return [plans[stage] for stage in self.rollouts.step_stages]

    def _first_pruned(self, keys: Sequence[StagePlan]) -> int:
        return next((step for step, key in enumerate(keys) if key != self.rollouts.dense), len(keys))


class Evaluator(Protocol):
    """What turns genomes into objectives, here or in workers elsewhere.

    A genome's objective must not depend on the others asked for with it, nor on their order. Objectives come in the
    genomes' order, each as soon as it is known; nan where the samples are not finite.
    """

    @property
    def distance(self) -> Distance:
        """What the objectives are values of."""

    def __call__(self, genomes: Sequence[Genome]) -> Iterator[float]: ...


@dataclass(frozen=True)
class SerialEvaluator:
    """One genome after the other, in this process: each when its objective is asked for."""

    distance: Distance

    def __call__(self, genomes: Sequence[Genome]) -> Iterator[float]:
        """Objectives in the genomes' order; nan where the samples are not finite."""
        return map(self.distance, genomes)
