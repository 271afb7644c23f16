"""Rollouts of probes: the images, by seed and prompt, that schedules are judged on, and the dense model's own."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffes.errors import SearchError
from diffes.precision import Arithmetic, rounding
from diffes.prompts import Prompts
from diffes.pruning.model import PrunedModel
from diffes.rollout import State, initial_state, run, seeded_noise
from diffes.sampling import Trajectory
from diffes.schedule import StagePlan

# Users' seeds are small and calibration's begin at 9 * 2^28: none of them is ever a probe. torch's CPU generator
# reads 32 bits of a seed, so both ranges of 2^28 end below that.
_PROBE_SEEDS = 10 << 28
_HELD_OUT_SEEDS = 11 << 28
_SEEDS_PER_SEARCH = 1 << 12


@dataclass(frozen=True)
class Probes:
    """Noise [N, C, h, w] and prompts that rollouts start from."""

    noise: Tensor
    prompts: Prompts

    @classmethod
    def drawn(cls, count: int, seed: int, rollouts: "Rollouts", *, held_out: bool = False) -> "Probes":
        """`count` probes, prompts in turn; held-out ones have other noise and go on where the prompts ended."""
        first = (_HELD_OUT_SEEDS if held_out else _PROBE_SEEDS) + seed * _SEEDS_PER_SEARCH
        architecture = rollouts.model.architecture
        noise = seeded_noise(range(first, first + count), architecture.latent_shape)
        start = count if held_out else 0
        prompts = rollouts.examples.in_turn(range(start, start + count))
        return cls(noise.to(rollouts.model.device), prompts.to(rollouts.model.device))


@dataclass(frozen=True)
class Rollouts:
    """How probes are run: model, what they are of, trajectory, guidance, which stage runs each step, images at once,
    arithmetic."""

    model: PrunedModel
    examples: Prompts
    path: Trajectory
    guidance: float
    step_stages: tuple[int, ...]
    batch: int
    arithmetic: Arithmetic = "float32"

    @property
    def dense(self) -> StagePlan:
        """The plan that keeps everything."""
        return self.model.architecture.dense

    @property
    def executed(self) -> list[int]:
        """Stages that have a step, in order."""
        return sorted(set(self.step_stages))

    def first_step(self, stage: int) -> int:
        """Index of an executed stage's first step."""
        return self.step_stages.index(stage)

    def end_step(self, stage: int) -> int:
        """Index of the step after an executed stage's last one."""
        return self.first_step(stage) + self.step_stages.count(stage)

    def middle_step(self, stage: int) -> int:
        """Index of the step in the middle of an executed stage."""
        return self.first_step(stage) + self.step_stages.count(stage) // 2

    def rows(self, images: int) -> int:
        """Rows a step runs for so many images: guidance doubles them."""
        return images if self.guidance == 1 else 2 * images

    def work(self, keys: Sequence[StagePlan], images: int, start: int, stop: int | None = None) -> int:
        """MACs of running `images` from step `start` to `stop` (the end)."""
        macs = self.model.architecture.macs
        return self.rows(images) * sum(map(macs, keys[start:stop]))

    def run(self, keys: Sequence[StagePlan], state: State, prompts: Prompts, stop: int | None = None) -> State:
        """From `state` to step `stop` (the end), at most `batch` rows at once."""
        parts = []
        for start in range(0, len(prompts), self.batch):
            rows = slice(start, start + self.batch)
            at = state.rows(rows), prompts[rows]
            with rounding(self.arithmetic):
                parts.append(run(self.model, keys, self.path, *at, self.guidance, stop))
        latents, clean = torch.cat([p.latents for p in parts]), torch.cat([p.clean for p in parts])
        return State(parts[0].index, latents, clean)


@dataclass(frozen=True)
class Teacher:
    """The dense model's trajectories: prompts, the state before every step, and the last latents."""

    prompts: Prompts
    states: dict[int, State]  # by index of the next step
    final: Tensor

    @classmethod
    def of(cls, rollouts: Rollouts, probes: Probes) -> "Teacher":
        """Roll the dense model out on the probes; SearchError if it diverges."""
        state = initial_state(rollouts.path, probes.noise)
        keys = [rollouts.dense] * len(rollouts.path.steps)
        states = {0: state}
        while state.index < len(keys):
            state = rollouts.run(keys, state, probes.prompts, state.index + 1)
            states[state.index] = state
        if not bool(torch.isfinite(state.latents).all()):
            raise SearchError(
                "the dense model's own samples are not finite",
                expected="finite latents",
                found=f"NaN or infinity in {len(probes.prompts)} probes",
                remedy="Try float32, or check the checkpoint and its scheduler's config.",
            )
        return cls(probes.prompts, states, state.latents)

    def rows(self, rows: slice) -> "Teacher":
        """Some of the probes alone."""
        states = {index: state.rows(rows) for index, state in self.states.items()}
        return Teacher(self.prompts[rows], states, self.final[rows])
