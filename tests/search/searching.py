"""Searches of the tiny model, as the tests of jobs run and interrupt them."""

import json
import os
import signal
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from diffes.checkpoint import Checkpoint
from diffes.pareto import ParetoFront
from diffes.schedule import Schedule
from search.distribution import Distribution
from search.fitness import Distance
from search.job import run_front, run_search
from search.options import SearchOptions
from search.state import STATE_FILE

_CHILD = """
import sys
from pathlib import Path
from diffes.checkpoint import Checkpoint
from search.job import run_front, run_search
from search.options import SearchOptions
options = SearchOptions.model_validate_json(sys.argv[1])
run = run_front if options.front else run_search
run(Checkpoint.open(Path(sys.argv[2])), options, Path(sys.argv[3]))
"""


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


def search_front(
    checkpoint: Checkpoint,
    options: SearchOptions,
    out: Path,
    *,
    resume: bool = False,
    distribution: Distribution | None = None,
) -> tuple[ParetoFront, str]:
    said = StringIO()
    console = Console(file=said, width=200)
    found = run_front(checkpoint, options, out, resume=resume, distribution=distribution, console=console)
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


def kill_after_generations(count: int, options: SearchOptions, model: Path, out: Path) -> None:
    """Search in a process of its own and kill -9 it once `count` generations are on disk."""
    command = [sys.executable, "-c", _CHILD, options.model_dump_json(), str(model), str(out)]
    with subprocess.Popen(command, env=os.environ, stderr=subprocess.DEVNULL) as child:
        try:
            while child.poll() is None and generations_on_disk(out) < count:
                time.sleep(0.002)
        finally:
            child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL, "the search was over before it could be killed"


def generations_on_disk(out: Path) -> int:
    state = out / STATE_FILE
    return len(json.loads(state.read_text())["generations"]) if state.exists() else 0
