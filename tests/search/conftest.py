"""A search of the tiny model that takes a second."""

from typing import Any

import pytest

from diffes.checkpoint import Checkpoint
from diffes.pruning.calibration import Calibration
from search.fitness import Distance
from search.options import SearchOptions
from search.problem import Problem
from search.rollouts import Rollouts


def small_options(**changes: Any) -> SearchOptions:
    """Five stages of four steps: one stage never runs."""
    options: dict[str, Any] = {
        "macs": 0.375,
        "stages": 5,
        "steps": 4,
        "genes": "stage",
        "calibration_images": 8,
        "population": 6,
        "elite": 2,
        "generations": 3,
        "probes": 4,
        "screen_probes": 2,
        "table_probes": 2,
        "table_levels": None,
        "candidates": 2,
        "threads": 1,
    }
    return SearchOptions(**(options | changes))


def front_options(**changes: Any) -> SearchOptions:
    """The same over a range of budgets."""
    return small_options(**({"macs": (0.2, 0.6), "population": 8} | changes))


@pytest.fixture(scope="session")
def problem(tiny_checkpoint: Checkpoint) -> Problem:
    return Problem.of(tiny_checkpoint, small_options())


@pytest.fixture(scope="session")
def rollouts(problem: Problem, tiny_calibration: Calibration) -> Rollouts:
    return problem.rollouts(tiny_calibration)


@pytest.fixture(scope="session")
def distance(problem: Problem, rollouts: Rollouts) -> Distance:
    return problem.distance(rollouts)
