"""What a search is asked for. It resumes only under equal options; `time_limit`, the place of a file and the number of
a GPU may differ."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, WrapValidator, model_validator

from diffes.checkpoint import Checkpoint
from diffes.errors import InvalidInput
from diffes.precision import Arithmetic, arithmetic_of
from diffes.pruning.calibration import CalibrationSpec
from diffes.pruning.data import looking_at
from diffes.pruning.mode import Compensation
from diffes.schedule import CompensationMode, Guidance, Sampler
from search.genome import Depth, Widths
from search.objectives import require_name
from search.shares import Share, Shares, read_share

ObjectiveName = Annotated[str, AfterValidator(require_name)]
TableMethod = Literal["teacher-forced", "rollout"]
MethodName = Literal["evolution", "uniform", "random", "mosaic", "diff-es"]
CostName = Literal["macs", "latency", "weights"]
BudgetShare = Annotated[Share | None, WrapValidator(lambda value, _: read_share(value))]
COSTS: tuple[CostName, ...] = ("macs", "latency", "weights")


def _population(given: dict[str, Any]) -> int:
    """A front has many budgets to find schedules for."""
    return 48 if any(isinstance(given.get(name), tuple) for name in COSTS) else 16


class SearchOptions(BaseModel):
    """Every choice of a search; the defaults are those of normal effort (search/presets.py).

    Exactly one of `macs`, `latency` (with the file `latency_table`) and `weights` is given: the share of that cost to
    remove, weighted by executed steps, or a range of shares for a Pareto front of error against cost. `memory` is the
    most that an export may store, compensated weights included, of what the dense model does (None: no limit).
    `genes`, `widths` and `depth` lay out the genome space (search/genome.py).
    `method` is our evolution or a baseline (search/baselines.py).
    `prompts` is a file of texts for a model that reads them (None: its own, or the shipped ones). `sampler` None is the
    checkpoint's own class. `objective` is a name of search/objectives.py, `features` the folder of a feature network
    (None: the bundled one). `elite` (at most half the population) live on in every generation;
    of a front, half the population does. `probes` images measure a candidate; one that is worse on the first
    `screen_probes` than every survivor (of a front: than one that costs no more) is not run on the others (None: all
    are). The first `table_probes` measure an entry of the error table; `table_levels` None measures every level,
    otherwise that many, and the levels between are interpolated. `candidates` of the best schedules are compared on
    held-out noise at the end; of a front, all that none dominates. `batch` limits the images run at once. `dtype` is
    how rollouts calculate, on a GPU tf32 unless given; bfloat16 rounds the error table too, and drowns its light
    levels. `time_limit` is in seconds and makes a search irreproducible; calibration, table and one schedule are
    completed whatever it says.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    macs: BudgetShare = None
    latency: BudgetShare = None
    latency_table: str | None = None
    weights: BudgetShare = None
    memory: float | None = Field(default=None, ge=1, allow_inf_nan=False)
    method: MethodName = "evolution"
    genes: str = Field(default="block", pattern=r"^(stage|block|group:[1-9][0-9]*)$")
    widths: Widths = "separate"
    depth: Depth = "joint"
    stages: int = Field(default=10, ge=1)
    sampler: str | None = None
    steps: int = Field(default=20, ge=1)
    guidance: Guidance = 1.5
    compensation: CompensationMode = "full"
    calibration_images: int = Field(default=32, ge=1)
    calibration_data: str | None = None
    prompts: str | None = None
    damping: float | Literal["auto"] = "auto"
    objective: ObjectiveName = "mse"
    features: str | None = None
    population: int = Field(default_factory=_population, ge=4)
    elite: int = Field(default=4, ge=1)
    generations: int = Field(default=6, ge=0)
    probes: int = Field(default=8, ge=1, le=1 << 12)
    screen_probes: int | None = Field(default=2, ge=1)
    table: TableMethod = "teacher-forced"
    table_probes: int = Field(default=2, ge=1)
    table_levels: int | None = Field(default=4, ge=2)
    candidates: int = Field(default=2, ge=1)
    seed: int = Field(default=0, ge=0, lt=1 << 16)
    batch: int = Field(default=64, ge=1)
    device: str = "cpu"
    dtype: Arithmetic = Field(default_factory=lambda known: arithmetic_of(known.get("device", "cpu")))
    threads: int | None = Field(default=None, ge=1)
    time_limit: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        given = [name for name in COSTS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"one budget, of {', '.join(COSTS)}; found {' and '.join(given) or 'none'}")
        if (self.latency is None) != (self.latency_table is None):
            raise ValueError("latency and latency_table together or neither")
        return self

    @model_validator(mode="after")
    def _arithmetic_of_the_device(self) -> Self:
        if self.dtype == "tf32" and not self.device.startswith("cuda"):
            raise ValueError(f"dtype tf32 is a GPU's; {self.device} calculates in float32 or bfloat16")
        return self

    @model_validator(mode="after")
    def _method_as_published(self) -> Self:
        if self.method != "evolution" and self.front:
            raise ValueError(f"one share: {self.method} finds no front")
        if self.method != "evolution" and len(self.rungs) > 1:
            raise ValueError(f"screen_probes None: {self.method} judges on all probes")
        if self.memory is not None and (self.method != "evolution" or self.front):
            raise ValueError("memory for one schedule of the evolution: baselines and fronts have no such limit")
        if self.method == "diff-es" and (self.genes, self.widths) != ("stage", "tied"):
            raise ValueError("genes stage and widths tied: diff-es has one level for a whole stage")
        return self

    @classmethod
    def checked(cls, values: Mapping[str, Any]) -> Self:
        """Options from untyped values; InvalidInput names the first that is wrong."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"]) or "options"
            raise InvalidInput(
                field, expected=first["msg"].removeprefix("Value error, "), found=first["input"]
            ) from error

    @property
    def cost(self) -> CostName:
        """Which cost the budget is on."""
        return next(name for name in COSTS if getattr(self, name) is not None)

    @property
    def asked(self) -> Share:
        """The share of that cost to remove, or the range of shares."""
        asked: Share = getattr(self, self.cost)
        return asked

    @property
    def front(self) -> bool:
        """Whether a Pareto front is asked for instead of one schedule."""
        return isinstance(self.asked, tuple)

    @property
    def shares(self) -> Shares:
        """The range of shares; of one share, that share twice."""
        return Shares(*self.asked) if isinstance(self.asked, tuple) else Shares(self.asked, self.asked)

    @property
    def share(self) -> float:
        """The least share to remove."""
        return self.shares.low

    @property
    def rungs(self) -> tuple[slice, ...]:
        """The probes a candidate is judged on, rung by rung; one rung without screening."""
        first = self.screen_probes
        if first is None or first >= self.probes:
            return (slice(0, self.probes),)
        return slice(0, first), slice(first, self.probes)

    @property
    def device_kind(self) -> str:
        """The device without its number: which of a machine's GPUs is taken changes nothing that is found."""
        return self.device.partition(":")[0]

    @property
    def rounds(self) -> int:
        """Generations after the first; none for a method that makes one schedule."""
        return 0 if self.method in ("uniform", "mosaic") else self.generations

    @property
    def planned(self) -> int:
        """The most schedules that are judged."""
        if self.method in ("uniform", "mosaic"):
            return 1
        return self.population + self.rounds * (self.population - self.survivors)

    @property
    def survivors(self) -> int:
        """Genomes of a generation that live on; of a front half of them, as NSGA-II keeps them."""
        return self.population // 2 if self.front else min(self.elite, self.population // 2)

    def sampler_of(self, checkpoint: Checkpoint) -> Sampler:
        """The sampler the schedule is searched for."""
        class_name = self.sampler or str(checkpoint.scheduler_config["_class_name"])
        return Sampler(class_name=class_name, steps=self.steps, guidance=self.guidance)

    def calibration_spec(self, checkpoint: Checkpoint) -> CalibrationSpec:
        """The calibration the search and its export share."""
        spec = CalibrationSpec(
            self.sampler_of(checkpoint),
            images=self.calibration_images,
            damping=self.damping,
            ordering=Compensation.parse(self.compensation).ordering,
        )
        return looking_at(spec, checkpoint, Path(self.calibration_data) if self.calibration_data else None)

    def measured_levels(self, parts: int) -> tuple[int, ...]:
        """Levels the error table measures on a grid of `parts`, rising.

        Always the last two: losing a whole half costs far more than the curve up to it foretells.
        """
        count = self.table_levels or parts
        spread = (round(i * (parts - 1) / (count - 1)) for i in range(1, count))
        return tuple(sorted({parts, *(level for level in spread if level)}))

    def difference(self, other: "SearchOptions") -> str:
        """Fields that make `other` a different search, as `name: ours → theirs`; empty if none.

        Where a latency table lies makes none: what it says is compared as the budget's digest. Nor does which GPU of a
        machine is taken.
        """
        ours, theirs = (options.model_dump(exclude={"time_limit", "latency_table"}) for options in (self, other))
        alike = {"device"} if self.device_kind == other.device_kind else set()
        differing = [name for name in ours if ours[name] != theirs[name] and name not in alike]
        return ", ".join(f"{name}: {ours[name]} → {theirs[name]}" for name in differing)
