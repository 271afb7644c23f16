"""What became of every request: one row each, kept as it was seen, no summary of it."""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from io import StringIO
from math import ceil
from pathlib import Path
from typing import Any, Literal, Self, get_args

from diffes.files import write_text_atomically

Fate = Literal["answered", "refused", "failed", "left"]  # `left`: its caller hung up, as planned
FATES: tuple[Fate, ...] = get_args(Fate)
UNKNOWN = "unknown"  # what no row tells of; there must be none


@dataclass(frozen=True, slots=True)
class StageRow:
    """One stage of one request as the service timed it."""

    stage: int
    steps: int
    seconds: float
    mean_batch: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One request. Times are seconds since the run began: when it was due, sent, and over.

    `first` is when the first thing made of its images came, in a stream. `reason` says why there is no answer. Of an
    answer there are the service's own words: its id, schedule and times, and digests of its images.
    """

    number: int
    due: float
    sent: float
    ended: float
    fate: Fate
    label: int
    seed: int
    images: int = 1
    steps: int | None = None
    schedule: str | None = None
    size: str | None = None
    stream: bool = False
    reason: str = ""
    status: int = 0
    retry_after: float | None = None
    first: float | None = None
    request_id: str = ""
    served_by: str = ""
    shed_from: str = ""
    queue_seconds: float = 0.0
    total_seconds: float = 0.0
    stages: tuple[StageRow, ...] = ()
    digests: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """What its caller waited, since it was due."""
        return self.ended - self.due

    @property
    def late(self) -> float:
        """How long after it was due it was sent."""
        return self.sent - self.due

    @classmethod
    def from_json(cls, line: str) -> Self:
        """Read a line of a rows file."""
        told: dict[str, Any] = json.loads(line)
        told |= {"stages": tuple(StageRow(**stage) for stage in told["stages"]), "digests": tuple(told["digests"])}
        return cls(**told)

    def to_json(self) -> str:
        """A line of a rows file, without its end."""
        return json.dumps(asdict(self))


def load_rows(path: Path) -> list[Row]:
    """What a generator has written so far; the line it may have been at when it was killed is left out."""
    whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    return [Row.from_json(line) for line in whole.splitlines()]


def save_csv(path: Path, runs: Iterable[tuple[str, Sequence[Row]]]) -> None:
    """All rows of all runs, each with the name of its run; stages as JSON in one cell."""
    written = StringIO()
    names = [field.name for field in fields(Row)]
    table = csv.writer(written, lineterminator="\n")
    table.writerow(["run", *names, "seconds"])
    for name, rows in runs:
        table.writerows([name, *_cells(row, names), f"{row.seconds:.6f}"] for row in rows)
    write_text_atomically(path, written.getvalue())


def percentile(values: Sequence[float], quantile: float) -> float:
    """The smallest value that at least `quantile` of all values do not exceed (nearest rank, no interpolation)."""
    return sorted(values)[max(ceil(quantile * len(values)), 1) - 1]


def of_fate(rows: Iterable[Row], *fates: Fate) -> list[Row]:
    """Those that ended so."""
    return [row for row in rows if row.fate in fates]


def _cells(row: Row, names: Iterable[str]) -> Iterator[Any]:
    for name in names:
        value = getattr(row, name)
        if name == "stages":
            yield json.dumps([asdict(stage) for stage in value])
        elif name == "digests":
            yield " ".join(value)
        else:
            yield f"{value:.6f}" if isinstance(value, float) else value
