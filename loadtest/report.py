"""What a load test saw: one row per request, exact percentiles per request and per stage."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from typing import Any, Self

QUANTILES = (0.5, 0.95, 0.99)


@dataclass(frozen=True, slots=True)
class StageRow:
    """One stage of one request as the service timed it."""

    stage: int
    steps: int
    seconds: float
    mean_batch: float


@dataclass(frozen=True, slots=True)
class Row:
    """One request as the client saw it; `error` is empty for an answered one. Seconds; `at` since the test began."""

    at: float
    seconds: float
    status: int
    error: str = ""
    queue_seconds: float = 0.0
    stages: tuple[StageRow, ...] = ()

    @classmethod
    def from_json(cls, line: str) -> Self:
        """Read a line of a rows file."""
        fields: dict[str, Any] = json.loads(line)
        return cls(**{**fields, "stages": tuple(StageRow(**stage) for stage in fields["stages"])})


def save_rows(path: Path, rows: Iterable[Row]) -> None:
    """One JSON object a line."""
    path.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows), encoding="utf-8")


def load_rows(path: Path) -> list[Row]:
    """What `save_rows` wrote."""
    return [Row.from_json(line) for line in path.read_text(encoding="utf-8").splitlines()]


def percentile(values: Sequence[float], quantile: float) -> float:
    """The smallest value that at least `quantile` of all values do not exceed (nearest rank, no interpolation)."""
    return sorted(values)[max(ceil(quantile * len(values)), 1) - 1]


def report(rows: Sequence[Row]) -> str:
    """Percentiles over the answered requests, and the reasons of the others."""
    answered = [row for row in rows if not row.error]
    failed = [row for row in rows if row.error]
    lines = [f"{len(rows)} requests, {len(failed)} failed{_rate(rows, answered)}"]
    if answered:
        lines.append(_table(_measured(answered)))
    for reason in dict.fromkeys(row.error for row in failed):
        lines.append(f"failed {sum(row.error == reason for row in failed)} x: {reason}")
    return "\n".join(lines) + "\n"


def _rate(rows: Sequence[Row], answered: Sequence[Row]) -> str:
    """Answers per second between the first start and the last end."""
    if not answered:
        return ""
    seconds = max(row.at + row.seconds for row in rows) - min(row.at for row in rows)
    return f", {len(answered) / seconds:.2f} answered/s"


def _measured(rows: Sequence[Row]) -> Iterator[tuple[str, list[float], str]]:
    """Name, milliseconds per request, and a note of every line of the table."""
    yield "request", [row.seconds * 1e3 for row in rows], ""
    yield "queue", [row.queue_seconds * 1e3 for row in rows], ""
    for number in sorted({stage.stage for row in rows for stage in row.stages}):
        stages = [stage for row in rows for stage in row.stages if stage.stage == number]
        steps = sum(stage.steps for stage in stages)
        per_step = sum(stage.seconds for stage in stages) / steps * 1e3
        batch = sum(stage.mean_batch * stage.steps for stage in stages) / steps
        note = f"{per_step:.1f} ms a step, {batch:.1f} images a batch"
        yield f"stage {number}", [stage.seconds * 1e3 for stage in stages], note


def _table(measured: Iterable[tuple[str, list[float], str]]) -> str:
    head = f"{'ms':<10}" + "".join(f"{f'p{quantile * 100:g}':>10}" for quantile in QUANTILES)
    lines = [head]
    for name, values, note in measured:
        cells = "".join(f"{percentile(values, quantile):>10.1f}" for quantile in QUANTILES)
        lines.append(f"{name:<10}{cells}   {note}".rstrip())
    return "\n".join(lines)
