"""The files of a search as a report reads them: `search.json`, `table.json` and `pareto.json`."""

import json
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from diffes.errors import SearchError
from diffes.schedule import ModelIdentity, Sampler
from search.genome import Genome
from search.options import SearchOptions
from search.state import Generation


class _Document(BaseModel):
    """What a report needs of a file; whatever else stands there is left alone."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read one file; SearchError says which entry is wrong."""
        try:
            document: Any = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SearchError(f"cannot read {path}", expected="JSON of a search", found=str(error)[:200]) from error
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the top"
            raise SearchError(
                f"{path} is malformed at {where}",
                expected=first["msg"],
                found=repr(first["input"])[:200],
                remedy="Report with the Diffes version that searched, or search again.",
            ) from error


class Reference(_Document):
    """A schedule that was compared; objectives None where it failed or was not judged."""

    genome: Genome
    removed: float
    objective: float | None
    held_out: float | None


class BudgetLog(_Document):
    """Shares of the dense cost: asked, achieved, and the most there is."""

    dense: int
    asked: float
    achieved: float
    reachable: float


class StageCost(_Document):
    """One stage of the chosen schedule: its timesteps and what all its steps cost one row."""

    high: int
    low: int
    steps: int
    dense_macs: int
    macs: int
    dense_cost: int
    cost: int


class Log(_Document):
    """`search.json`."""

    format: Literal[1]
    options: SearchOptions
    model: ModelIdentity
    stopped: str | None
    reproducible: bool
    budget: BudgetLog
    knapsack: Reference
    uniform: Reference
    generations: list[Generation]
    schedules: dict[str, int]
    evaluations: dict[str, float]
    excluded: int
    chosen: Genome
    finalists: list[Reference]
    stages: list[StageCost]
    seconds: dict[str, float]
    code: str
    versions: dict[str, str]
    machine: dict[str, JsonValue]

    @property
    def winner(self) -> Reference:
        """The chosen one of the finalists."""
        return next(finalist for finalist in self.finalists if finalist.genome == self.chosen)


class Table(_Document):
    """`table.json`: errors by gene name and level, None where a rollout failed; `dense_macs` are one evaluation."""

    method: str
    objective: str
    images: int
    dense_macs: int = Field(gt=0)
    parts: int = Field(ge=1)
    groups: list[int] = Field(min_length=1)
    executed_steps: list[int] = Field(min_length=1)
    levels: list[int]
    measured: dict[str, float | None]
    errors: dict[str, list[float | None]]


class ParetoPoint(_Document):
    """One schedule of a front: the share of the cost removed, the cost left, and its objectives."""

    removed: float
    cost: float
    objective: float | None
    held_out: float | None
    schedule: JsonValue = None


class Pareto(_Document):
    """`pareto.json`: searched schedules by cost, beside uniform ones."""

    format: Literal[1]
    model: ModelIdentity
    sampler: Sampler
    unit: str
    points: list[ParetoPoint] = Field(min_length=1)
    uniform: list[ParetoPoint] = Field(default_factory=list)
