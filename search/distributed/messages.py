"""What a search and its workers say to each other."""

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diffes.errors import SearchError
from search.costs import PlanLatency
from search.error_table import TableEntry
from search.genome import Genome
from search.options import SearchOptions


@dataclass(frozen=True)
class Assignment:
    """All that a worker is told once. `options` name its own device; `threads` are torch's on the CPU."""

    checkpoint: Path
    options: SearchOptions
    latency: PlanLatency | None
    calibration: Path
    threads: int


@dataclass(frozen=True)
class Judge:
    """One genome, on the probes of a teacher that lies in a file of this name."""

    teacher: str
    genome: Genome

    def __str__(self) -> str:
        return f"genome {list(self.genome)}"


@dataclass(frozen=True)
class Measure:
    """A few entries of the error table that share a dense step, on the probes of a teacher."""

    teacher: str
    entries: tuple[TableEntry, ...]

    def __str__(self) -> str:
        return f"table entries {', '.join(entry.name for entry in self.entries)}"


Task = Judge | Measure


@dataclass(frozen=True)
class Ready:
    """A worker has built what it needs; `arithmetic` says what its floats depend on."""

    arithmetic: str


@dataclass(frozen=True)
class Answer:
    """The values of a task, in its order."""

    values: Sequence[float]


@dataclass(frozen=True)
class Raised:
    """What a task, or the start of a worker, raised there."""

    error: Exception

    @classmethod
    def of(cls, error: Exception) -> "Raised":
        """The error if it survives the way, otherwise a SearchError that quotes it."""
        try:
            pickle.loads(pickle.dumps(error))
        except (pickle.PickleError, TypeError, AttributeError, ValueError):
            return cls(SearchError("a worker failed", found=f"{type(error).__name__}: {error}"))
        return cls(error)


@dataclass(frozen=True)
class Lost:
    """A worker is gone, and what it was asked with it; `how` is its exit code, signal or Ray's account."""

    how: str


Reply = Ready | Answer | Raised | Lost
