"""Searches of every kind of space, and the account of what they ran."""

from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from diffes.architectures.adaln_step import AdaLNStep
from diffes.checkpoint import Checkpoint
from diffes.schedule import BlockPlan
from search.problem import Problem
from search.state import SearchState
from tests.search.conftest import small_options
from tests.search.searching import log_of, search

SPACES: list[dict[str, Any]] = [
    {"genes": "block"},
    {"genes": "stage", "widths": "tied"},
    {"genes": "group:2", "depth": "none"},
    {"genes": "block", "depth": "alone"},
    {"macs": None, "weights": 0.375, "genes": "block"},
]


@pytest.mark.parametrize("space", SPACES, ids=lambda space: " ".join(map(str, space.values())))
def test_any_space_is_searched_within_its_budget(
    tiny_checkpoint: Checkpoint, tmp_path: Path, space: dict[str, Any]
) -> None:
    options = small_options(**space)
    schedule, _ = search(tiny_checkpoint, options, tmp_path)
    problem = Problem.of(tiny_checkpoint, options)
    assert problem.budget.removed(problem.genome(schedule)) >= 0.375
    assert list(problem.genome(schedule)) == log_of(tmp_path)["chosen"]


def test_the_log_counts_every_row_the_denoiser_ran(
    tiny_checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, resume = list[int](), AdaLNStep.resume
    macs = tiny_checkpoint.architecture.macs

    def counted(step: Any, first: int, x: Tensor, *modulations: Tensor, **named: Tensor) -> Tensor:
        plan = tuple(BlockPlan(0, 0) if i < first else b for i, b in enumerate(step.plan))
        done.append(len(x) * macs(plan))
        return resume(step, first, x, *modulations, **named)

    monkeypatch.setattr(AdaLNStep, "resume", counted)
    monkeypatch.setenv("DIFFES_CACHE", str(tmp_path / "cache"))
    search(tiny_checkpoint, small_options(genes="block", seed=3), tmp_path / "out")
    counts = SearchState.load(tmp_path / "out").evaluations
    assert set(counts) == {"calibrate", "teacher", "table", "evolve", "held-out", "select"}
    assert sum(counts.values()) == sum(done)
    total = log_of(tmp_path / "out")["evaluations"]["total"]
    assert total == pytest.approx(sum(done) / macs(tiny_checkpoint.architecture.dense), abs=0.01)
