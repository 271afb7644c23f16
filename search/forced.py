"""Errors of one step under the dense model's own latents: what pruning a few blocks of one stage does at once.

The dense model's latents before every step are known, and within a step its hidden state before every block. So an
error needs the pruned block group and the blocks after it, on one step of the stage: a fraction of one evaluation.

Products are float32's in full: light pruning of a noisy stage changes a prediction by less than rounding to bfloat16
or TF32 does.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffes.precision import full_float32
from diffes.rollout import conditions_of
from diffes.sampling import guide
from diffes.schedule import StagePlan
from search.fitness import Distance

_Conditions = Mapping[str, Tensor]


@dataclass(frozen=True)
class _Rows:
    """Some images at one step: conditions, the dense input of every block, the dense guided prediction."""

    conditions: _Conditions
    entries: Mapping[int, Tensor]
    prediction: Tensor


class ForcedStep:
    """The dense model in the middle step of one stage on a teacher's images, kept to go on from at any block."""

    def __init__(self, distance: Distance, stage: int) -> None:
        self._rollouts = distance.rollouts
        self._teacher = distance.teacher
        self._step = self._rollouts.middle_step(stage)
        self._parts = list(self._dense())

    @torch.inference_mode()
    def error(self, plan: StagePlan, first: int) -> float:
        """Mean squared difference of the guided prediction to the dense one's; blocks before `first` are dense."""
        denoiser: Any = self._rollouts.model.denoiser(plan)
        total, count = 0.0, 0
        for part in self._parts:
            with full_float32():
                out = self._guided(denoiser.resume(first, part.entries[first], **part.conditions).float())
            total += float((out.double() - part.prediction.double()).square().sum())
            count += out.numel()
        return total / count

    @torch.inference_mode()
    def _dense(self) -> Iterator[_Rows]:
        denoiser: Any = self._rollouts.model.denoiser(self._rollouts.dense)
        for start in range(0, len(self._teacher.prompts), self._rollouts.batch):
            rows = slice(start, start + self._rollouts.batch)
            latents, conditions = self._inputs(rows)
            entries: dict[int, Tensor] = {}
            denoiser.entry = entries.__setitem__
            try:
                with full_float32():
                    out = denoiser(latents, **conditions).float()
            finally:
                denoiser.entry = None
            yield _Rows(conditions, entries, self._guided(out))

    def _inputs(self, rows: slice) -> tuple[Tensor, _Conditions]:
        model, at = self._rollouts.model, self._rollouts.path.steps[self._step]
        latents = self._teacher.states[self._step].latents[rows] * at.scale
        if self._rollouts.guidance != 1:
            latents = torch.cat([latents, latents])
        encoded = model.encode(self._teacher.prompts[rows].branches(self._rollouts.guidance))
        conditions = conditions_of(model, encoded, float(at.timestep))
        placed = {name: value.to(model.device, model.dtype) for name, value in conditions.items()}
        return latents.to(model.device, model.dtype), placed

    def _guided(self, out: Tensor) -> Tensor:
        return out if self._rollouts.guidance == 1 else guide(out, self._rollouts.guidance)
