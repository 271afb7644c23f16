"""What each stage of a trajectory keeps, and what that costs.

A schedule is a file (`schedule.json`): searched on one machine, exported on another. Plans hold counts, never
ratios, so nothing is rounded between a search and a GEMM.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, model_validator

from diffes.documents import validated
from diffes.errors import ScheduleError
from diffes.files import write_text_atomically
from diffes.pruning.mode import CompensationMode as CompensationMode  # a schedule names it, pruning gives it meaning


class BlockPlan(NamedTuple):
    """Heads and MLP channels one block keeps; 0 skips that half, two zeros the block."""

    heads: Annotated[int, Field(ge=0, strict=True)]
    channels: Annotated[int, Field(ge=0, strict=True)]


StagePlan = tuple[BlockPlan, ...]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Stage(_Record):
    """A closed interval of training timesteps and the plan its steps run on."""

    high: int = Field(ge=0, strict=True)
    low: int = Field(ge=0, strict=True)
    blocks: StagePlan

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"a stage runs from high down to low, found {self.high}..{self.low}")
        return self


class ModelIdentity(_Record):
    """Which model's ordered weights the plans are prefixes of."""

    class_name: str = Field(alias="class")
    fingerprint: str


def steered(guidance: float) -> float:
    """A guidance scale as steps are run by it: 0 is none, as diffusers has it of few-step models, and so is 1.

    ValueError for what is neither 0 nor 1 and more.
    """
    if guidance != 0 and not guidance >= 1:
        raise ValueError(f"0, which is none, or 1 and more; found {guidance:g}")
    return max(1.0, guidance)


Guidance = Annotated[float, Field(allow_inf_nan=False), AfterValidator(steered)]


class Sampler(_Record):
    """The sampler a schedule was made for; its steps weigh the stages' cost."""

    class_name: str = Field(alias="class")
    steps: int = Field(ge=1, strict=True)
    guidance: Guidance


class Cost(_Record):
    """What one image costs under the sampler, in multiply-accumulates; latency in seconds."""

    macs: int = Field(ge=0, strict=True)
    dense_macs: int = Field(gt=0, strict=True)
    latency: float | None = Field(default=None, ge=0, allow_inf_nan=False)

    @property
    def macs_removed(self) -> float:
        """Share of the dense model's MACs this schedule does without."""
        return 1 - self.macs / self.dense_macs


class Schedule(_Record):
    """Stages from noisy to clean that partition 0..T-1, and what they were made for."""

    format: Literal[1] = 1
    model: ModelIdentity
    sampler: Sampler
    stages: tuple[Stage, ...] = Field(min_length=1)
    compensation: CompensationMode
    cost: Cost
    provenance: dict[str, JsonValue] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _partition(self) -> Self:
        for earlier, later in zip(self.stages, self.stages[1:], strict=False):
            if later.high != earlier.low - 1:
                raise ValueError(
                    f"stages must meet: after {earlier.high}..{earlier.low} the next starts at"
                    f" {earlier.low - 1}, found {later.high}"
                )
        if self.stages[-1].low != 0:
            raise ValueError(f"the last stage must end at 0, found {self.stages[-1].low}")
        if len({len(stage.blocks) for stage in self.stages}) != 1:
            raise ValueError("every stage must plan the same number of blocks")
        return self

    @property
    def plans(self) -> tuple[StagePlan, ...]:
        """The distinct stage plans, in the order the trajectory meets them."""
        return tuple(dict.fromkeys(stage.blocks for stage in self.stages))

    def stage_index(self, timestep: float) -> int:
        """Index of the stage that runs `timestep` (samplers may give fractions; T=1000 → 0..999)."""
        return stage_index([(stage.high, stage.low) for stage in self.stages], timestep)

    def require_fit(self, model: ModelIdentity, dense: StagePlan, train_timesteps: int) -> None:
        """ScheduleError unless made for `model`, over all its timesteps, keeping no more than `dense` has."""
        if self.model != model:
            raise ScheduleError(
                "the schedule was made for another model",
                expected=f"{model.class_name} {model.fingerprint[:16]}",
                found=f"{self.model.class_name} {self.model.fingerprint[:16]}",
                remedy="Search a schedule for this model.",
            )
        if self.stages[0].high != train_timesteps - 1:
            raise ScheduleError(
                "the first stage does not start at the noisiest timestep",
                expected=train_timesteps - 1,
                found=self.stages[0].high,
            )
        for index, stage in enumerate(self.stages):
            if len(stage.blocks) != len(dense):
                raise ScheduleError(
                    f"stage {index} plans too few or too many blocks", expected=len(dense), found=len(stage.blocks)
                )
            for block, (kept, whole) in enumerate(zip(stage.blocks, dense, strict=True)):
                if kept.heads > whole.heads or kept.channels > whole.channels:
                    raise ScheduleError(
                        f"stage {index} keeps more than block {block} has", expected=tuple(whole), found=tuple(kept)
                    )

    def save(self, path: Path) -> None:
        """Write `schedule.json`, whole or not at all."""
        document = self.model_dump(mode="json", by_alias=True)
        write_text_atomically(path, json.dumps(document, indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read `schedule.json`; ScheduleError says which entry is wrong."""
        try:
            document = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise ScheduleError(f"cannot read schedule {path}", expected="a schedule.json", found=str(error)) from error
        return cls.parse(document, source=str(path))

    @classmethod
    def parse(cls, document: Any, *, source: str) -> Self:
        """Validate a decoded schedule; `source` names it in errors."""
        if isinstance(document, dict) and document.get("format") != 1:
            raise ScheduleError(
                f"schedule {source} has an unknown format",
                expected="format 1",
                found=f"format {document.get('format')!r}",
                remedy="Use the Diffes version that wrote it.",
            )
        return validated(cls, document, f"schedule {source}", ScheduleError, top="schedule")


def stage_index(intervals: Sequence[tuple[int, int]], timestep: float) -> int:
    """Position of the (high, low) interval holding `timestep`, intervals noisy to clean.

    A fractional timestep belongs to the stage of its integer part. ScheduleError outside 0..T-1.
    """
    whole = int(timestep)
    for index, (high, low) in enumerate(intervals):
        if low <= whole <= high:
            return index
    raise ScheduleError(
        "timestep lies outside the schedule",
        expected=f"{intervals[-1][1]}..{intervals[0][0]}",
        found=timestep,
    )


def equal_intervals(train_timesteps: int, stages: int) -> list[tuple[int, int]]:
    """Split 0..T-1 into `stages` (high, low) intervals of equal length, noisy to clean."""
    if not 1 <= stages <= train_timesteps:
        raise ScheduleError("cannot split the trajectory", expected=f"1..{train_timesteps} stages", found=stages)
    edges = [train_timesteps * i // stages for i in range(stages + 1)]
    return [(edges[i + 1] - 1, edges[i]) for i in reversed(range(stages))]


def executed_steps(intervals: Sequence[tuple[int, int]], timesteps: Iterable[float]) -> list[int]:
    """How many of a sampler's steps fall in each stage; a stage without steps saves nothing."""
    counts = [0] * len(intervals)
    for timestep in timesteps:
        counts[stage_index(intervals, timestep)] += 1
    return counts


def trajectory_cost(
    stages: Sequence[Stage],
    timesteps: Sequence[float],
    macs: Callable[[StagePlan], int],
    dense: StagePlan,
    *,
    guided: bool,
) -> Cost:
    """Cost of one image: each stage's MACs times the steps executed in it.

    `macs` gives the MACs of one row of one step; guidance runs two rows a step.
    """
    counts = executed_steps([(stage.high, stage.low) for stage in stages], timesteps)
    rows = 2 if guided else 1
    spent = sum(macs(stage.blocks) * count for stage, count in zip(stages, counts, strict=True))
    return Cost(macs=rows * spent, dense_macs=rows * len(timesteps) * macs(dense))
