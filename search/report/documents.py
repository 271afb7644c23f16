"""The files of a search as a report reads them: `search.json`, of one schedule or of a front, and `table.json`."""

import json
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from diffes.documents import validated
from diffes.errors import SearchError
from diffes.schedule import ModelIdentity
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
        remedy = "Report with the Diffes version that searched, or search again."
        return validated(cls, document, str(path), SearchError, remedy=remedy)


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


class Space(_Document):
    """What a genome's levels mean; `dense_macs` are of one row of one dense step, which is one evaluation."""

    dense_macs: int = Field(gt=0)
    parts: int = Field(ge=1)
    groups: list[int] = Field(min_length=1)
    executed_steps: list[int] = Field(min_length=1)


class _Log(_Document):
    """What the log of every finished search says."""

    format: Literal[1]
    options: SearchOptions
    model: ModelIdentity
    space: Space
    stopped: str | None
    reproducible: bool
    schedules: dict[str, int]
    evaluations: dict[str, float]
    excluded: int
    seconds: dict[str, float]
    code: str
    versions: dict[str, str]
    machine: dict[str, JsonValue]


class Log(_Log):
    """`search.json` of one schedule; `knapsack` None for a method without an error table."""

    budget: BudgetLog
    knapsack: Reference | None
    uniform: Reference
    generations: list[Generation]
    chosen: Genome
    finalists: list[Reference]
    stages: list[StageCost]

    @property
    def winner(self) -> Reference:
        """The chosen one of the finalists."""
        return next(finalist for finalist in self.finalists if finalist.genome == self.chosen)


class FrontGeneration(_Document):
    """How far the front on the search's probes had come: its points, and the geometric mean of its errors over the
    shares asked for, None where it did not span them."""

    number: int
    schedules: int
    evaluations: float
    seconds: float
    points: int
    typical_error: float | None


class FrontPoint(Reference):
    """A point of the front; `by_stage` is the share of its own dense cost that each stage removes, noisy to clean."""

    by_stage: list[float]


class Ratio(_Document):
    """The front's error over the uniform schedule's that removes this share, on held-out noise."""

    removed: float
    ratio: float


class FrontLog(_Log):
    """`search.json` of a front; `judged` are (share removed, objective on the search's probes) of every schedule."""

    generations: list[FrontGeneration]
    front: list[FrontPoint] = Field(min_length=1)
    judged: list[tuple[float, float]]
    over_uniform: list[Ratio]


class Table(Space):
    """`table.json`: errors by gene name and level, None where a rollout failed."""

    method: str
    objective: str
    images: int
    levels: list[int]
    measured: dict[str, float | None]
    errors: dict[str, list[float | None]]
