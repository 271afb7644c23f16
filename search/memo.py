"""Evaluated genomes, in the order they were first evaluated, under a key that says what their objectives are of."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from itertools import islice
from math import inf, isfinite
from pathlib import Path

import torch
from pydantic import JsonValue

import diffes
from search.genome import Genome

# what an objective depends on; the rest of the code may change between a kill and its resume
_SOURCES = (
    *("architectures", "pruning", "quality"),
    *("checkpoint.py", "levels.py", "precision.py", "rollout.py", "sampling.py", "schedule.py"),
)


class Memo:
    """Objective of every genome evaluated so far; a genome that failed (NaN) is held at inf."""

    def __init__(self, entries: Iterable[tuple[Iterable[int], float | None]] = ()) -> None:
        self._objectives = {tuple(genome): inf if value is None else value for genome, value in entries}

    def __len__(self) -> int:
        return len(self._objectives)

    def __contains__(self, genome: Genome) -> bool:
        return genome in self._objectives

    def __getitem__(self, genome: Genome) -> float:
        return self._objectives[genome]

    def add(self, genome: Genome, objective: float) -> None:
        """Keep an objective; anything not finite counts as inf."""
        self._objectives[genome] = objective if isfinite(objective) else inf

    @property
    def excluded(self) -> int:
        """Genomes whose rollout was not finite."""
        return sum(not isfinite(value) for value in self._objectives.values())

    def first(self, count: int) -> list[Genome]:
        """The first `count` genomes evaluated."""
        return list(islice(self._objectives, count))

    def best(self, count: int) -> list[Genome]:
        """The `count` genomes of least finite objective, best first, ties in order of evaluation."""
        finite = [genome for genome, value in self._objectives.items() if isfinite(value)]
        return sorted(finite, key=self._objectives.__getitem__)[:count]

    def entries(self) -> list[tuple[Genome, float | None]]:
        """For JSON: failures as None."""
        return [(genome, value if isfinite(value) else None) for genome, value in self._objectives.items()]

    def objectives(self) -> list[float]:
        """All objectives, in order of evaluation."""
        return list(self._objectives.values())


def memo_key(conditions: Mapping[str, JsonValue]) -> str:
    """Name of the memo of objectives found under `conditions`: model, calibration, probes, code, ...

    Objectives of other probes or of other code lie under another name, so they cannot be taken for these.
    """
    canonical = json.dumps(conditions, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


@cache
def code_version() -> str:
    """Digest of the sources an objective depends on, and of torch's version.

    Of `search/` the modules themselves: the packages in it, reports and workers, change no objective.
    """
    digest = hashlib.sha256(torch.__version__.encode())
    package = Path(diffes.__file__).parent
    paths = [p for name in _SOURCES for p in sorted((package / name).rglob("*.py")) or [package / name]]
    for path in (*paths, *sorted(Path(__file__).parent.glob("*.py"))):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
