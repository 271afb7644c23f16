"""Searches of the tiny model, as the tests of jobs run and interrupt them."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from diffes.checkpoint import Checkpoint
from diffes.schedule import Schedule
from search.distribution import Distribution
from search.fitness import Distance
from search.job import run_search
from search.options import SearchOptions


def search(
    checkpoint: Checkpoint,
    options: SearchOptions,
    out: Path,
    *,
    resume: bool = False,
    distribution: Distribution | None = None,
) -> tuple[Schedule, str]:
    said = StringIO()
    console = Console(file=said, width=200)
    found = run_search(checkpoint, options, out, resume=resume, distribution=distribution, console=console)
    return found, said.getvalue()


def log_of(out: Path) -> dict[str, Any]:
    """The log without what differs from run to run."""
    log: dict[str, Any] = json.loads((out / "search.json").read_text())
    del log["seconds"]
    for generation in log["generations"]:
        del generation["seconds"]
    return log


def count_distances(monkeypatch: pytest.MonkeyPatch, cut_at: int | None) -> list[object]:
    """Every genome rolled out from now on; the rollout after `cut_at` of them is interrupted once."""
    made: list[object] = []
    cut: list[bool] = []
    measure = Distance.__call__

    def counted(distance: Distance, genome: Any) -> float:
        if len(made) == cut_at and not cut:
            cut.append(True)
            raise KeyboardInterrupt
        made.append(genome)
        return measure(distance, genome)

    monkeypatch.setattr(Distance, "__call__", counted)
    return made
