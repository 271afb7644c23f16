"""Schedules that trade error against cost: a Pareto front as a file, any point of which can be exported.

`pareto.json` is searched on one machine and exported on another, like `schedule.json`, of which each point holds one.
"""

import json
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from diffes.documents import require_format, validated
from diffes.errors import ScheduleError
from diffes.files import write_text_atomically
from diffes.schedule import ModelIdentity, Sampler, Schedule


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class ParetoPoint(_Record):
    """One schedule: the share of the dense cost it removes, what it still costs, and its errors.

    `objective` is its error on the probes of the search (None: not judged there), `held_out` on others (None: failed).
    """

    removed: float = Field(allow_inf_nan=False)
    cost: int = Field(strict=True)
    objective: float | None = Field(allow_inf_nan=False)
    held_out: float | None = Field(allow_inf_nan=False)
    schedule: Schedule


class ParetoFront(_Record):
    """Points of one model and sampler from the least share removed to the largest, error rising with it.

    Costs are of one row's trajectory in `unit`; `shares` are the least and the largest asked for. `uniform` are
    schedules that prune all stages alike, measured the same way.
    """

    format: Literal[1] = 1
    model: ModelIdentity
    sampler: Sampler
    unit: str
    shares: tuple[float, float]
    points: tuple[ParetoPoint, ...] = Field(min_length=1)
    uniform: tuple[ParetoPoint, ...] = ()

    @model_validator(mode="after")
    def _rising(self) -> Self:
        removed = [point.removed for point in self.points]
        if removed != sorted(set(removed)):
            raise ValueError("points must rise in the share they remove")
        return self

    def at(self, share: float) -> ParetoPoint:
        """The point of least error that removes at least `share`; ScheduleError outside what the front spans."""
        if not self.shares[0] <= share <= self.points[-1].removed:
            raise ScheduleError(
                "the front does not span this share",
                expected=f"{self.shares[0]:g} to {self.points[-1].removed:.4f} of the {self.unit} removed",
                found=share,
                remedy="Search a front over a wider range.",
            )
        return next(point for point in self.points if point.removed >= share)

    @staticmethod
    def is_in(path: Path) -> bool:
        """Whether a file looks like a front, rather than like a schedule; False if it cannot be read."""
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return isinstance(document, dict) and "points" in document

    def save(self, path: Path) -> None:
        """Write `pareto.json`, whole or not at all."""
        write_text_atomically(path, json.dumps(self.model_dump(mode="json", by_alias=True), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read `pareto.json`; ScheduleError says which entry is wrong."""
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ScheduleError(f"cannot read front {path}", expected="a pareto.json", found=str(error)) from error
        name = f"front {path}"
        require_format(document, name, ScheduleError, remedy="Use the Diffes version that wrote it.")
        return validated(cls, document, name, ScheduleError)
