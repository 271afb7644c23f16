"""Latency tables: what each half of a block costs on one device, and so what any stage plan will.

A table is a file: measured on the machine that will serve, read by a search on another one.
"""

import json
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from diffes.documents import require_format, validated
from diffes.errors import LatencyError
from diffes.files import write_text_atomically
from diffes.schedule import ModelIdentity, StagePlan

Nanoseconds = Annotated[int, Field(ge=0, strict=True)]
Width = Annotated[int, Field(ge=0, strict=True)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class HalfCost(_Record):
    """What one half of one block costs by the width it keeps, from 0 (skipped, free) to dense, never falling."""

    widths: tuple[Width, ...] = Field(min_length=2)
    nanoseconds: tuple[Nanoseconds, ...]

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if self.widths[0] != 0 or any(b <= a for a, b in zip(self.widths, self.widths[1:], strict=False)):
            raise ValueError("widths must rise from 0")
        if len(self.nanoseconds) != len(self.widths) or self.nanoseconds[0] != 0:
            raise ValueError("every width has one cost, and a skipped half costs nothing")
        if list(self.nanoseconds) != sorted(self.nanoseconds):
            raise ValueError("a wider half costs no less")
        return self

    def at(self, kept: int) -> int:
        """Nanoseconds at `kept` units, linear between measured widths; LatencyError beyond the widest."""
        if not 0 <= kept <= self.widths[-1]:
            raise LatencyError("no such width in the table", expected=f"0..{self.widths[-1]}", found=kept)
        above = next(i for i, width in enumerate(self.widths) if width >= kept)
        high = self.nanoseconds[above]
        if self.widths[above] == kept:
            return high
        low, start, end = self.nanoseconds[above - 1], self.widths[above - 1], self.widths[above]
        return low + (high - low) * (kept - start) // (end - start)


class BlockCost(_Record):
    """What each of the equal blocks `blocks` costs."""

    blocks: tuple[Width, ...] = Field(min_length=1)
    attention: HalfCost
    mlp: HalfCost


class CheckedPlan(_Record):
    """A whole plan that was timed but not fitted, and what the table says of it."""

    plan: StagePlan
    measured: Nanoseconds
    predicted: Nanoseconds

    @property
    def error(self) -> float:
        """Predicted over measured, less 1."""
        return self.predicted / self.measured - 1


class Provenance(_Record):
    """How a table was measured: date (ISO 8601, UTC), versions, CPU threads, rounds, plans fitted.

    `spread` is the largest interquartile range of a plan's rounds, `fit_error` the largest relative distance of a
    fitted plan from its measurement, `check_error` the largest of the plans checked.
    """

    date: str
    versions: dict[str, str]
    threads: int = Field(ge=1)
    rounds: int = Field(ge=1)
    fitted: int = Field(ge=1)
    spread: float = Field(ge=0, allow_inf_nan=False)
    fit_error: float = Field(ge=0, allow_inf_nan=False)
    check_error: float = Field(ge=0, allow_inf_nan=False)


class LatencyTable(_Record):
    """Latency of one step of any stage plan of `model`: rest + every block's attention(heads) + mlp(channels).

    `device` is the hardware's name, `batch` counts the rows of a step, guidance rows included. `rest` is a step whose
    every half is skipped: embedding, final layer, and the norms and biases that run even then.
    """

    format: Literal[1] = 1
    model: ModelIdentity
    backend: str
    device: str
    batch: int = Field(ge=1, strict=True)
    dtype: str
    rest: Nanoseconds
    costs: tuple[BlockCost, ...] = Field(min_length=1)
    checks: tuple[CheckedPlan, ...] = ()
    provenance: Provenance

    @model_validator(mode="after")
    def _every_block_once(self) -> Self:
        blocks = sorted(block for cost in self.costs for block in cost.blocks)
        if blocks != list(range(len(blocks))):
            raise ValueError(f"every block must have one cost, found costs of {blocks}")
        return self

    @cached_property
    def _by_block(self) -> list[BlockCost]:
        found = {block: cost for cost in self.costs for block in cost.blocks}
        return [found[block] for block in range(len(found))]

    def latency(self, plan: StagePlan) -> int:
        """Nanoseconds of one step of `plan`; LatencyError for a plan of more or other blocks than were measured."""
        if len(plan) != len(self._by_block):
            raise LatencyError(
                "the plan is of another model", expected=f"{len(self._by_block)} blocks", found=len(plan)
            )
        pairs = zip(self._by_block, plan, strict=True)
        return self.rest + sum(cost.attention.at(kept.heads) + cost.mlp.at(kept.channels) for cost, kept in pairs)

    def require_fit(
        self,
        model: ModelIdentity,
        *,
        device: str | None = None,
        backend: str | None = None,
        batch: int | None = None,
        dtype: str | None = None,
    ) -> None:
        """LatencyError unless measured of `model`, and under whatever else is named (None: whatever it was)."""
        if self.model != model:
            raise LatencyError(
                "the latency table was measured of another model",
                expected=f"{model.class_name} {model.fingerprint[:16]}",
                found=f"{self.model.class_name} {self.model.fingerprint[:16]}",
                remedy="Measure this model: diffes bench table.",
            )
        wanted = {"device": device, "backend": backend, "batch": batch, "dtype": dtype}
        for name, value in wanted.items():
            if value is not None and getattr(self, name) != value:
                raise LatencyError(
                    f"the latency table was measured under another {name}",
                    expected=value,
                    found=getattr(self, name),
                    remedy="Measure where the schedule will run: diffes bench table.",
                )

    def save(self, path: Path) -> None:
        """Write the table, whole or not at all."""
        document = self.model_dump(mode="json", by_alias=True)
        write_text_atomically(path, json.dumps(document, indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a table; LatencyError says which entry is wrong."""
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise LatencyError(
                f"cannot read latency table {path}",
                expected="a file of `diffes bench table`",
                found=str(error),
            ) from error
        name = f"latency table {path}"
        require_format(document, name, LatencyError, remedy="Measure it again with this version.")
        return validated(cls, document, name, LatencyError)
