"""The distance a search minimises: a schedule's final samples to the dense model's, from the same noise."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from diffes.schedule import StagePlan
from search.genome import GenomeSpace
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
        plans = self.space.plans(genome)
        keys = [plans[stage] for stage in self.rollouts.step_stages]
        start = _first_pruned(keys, self.rollouts.dense)
        if start is None:
            return 0.0
        final = self.rollouts.run(keys, self.teacher.states[start], self.teacher.labels).latents
        return self.between(final, self.teacher.final)

    def between(self, samples: Tensor, dense: Tensor) -> float:
        """Objective of final latents [N, C, h, w]."""
        return self.objective(samples.clamp(-self.clip, self.clip), dense.clamp(-self.clip, self.clip))


def _first_pruned(keys: Sequence[StagePlan], dense: StagePlan) -> int | None:
    return next((step for step, key in enumerate(keys) if key != dense), None)
