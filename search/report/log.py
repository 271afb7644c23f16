"""What the log of every search says, of one schedule or of a front: what was asked, what was run, and on what."""

import json
import platform
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from typing import Any

import torch

import diffes
from diffes.files import write_text_atomically
from search.evaluations import Evaluations
from search.memo import Memo
from search.problem import Problem
from search.state import SearchState

_VERSIONS = ("torch", "numpy", "pygad")


def origin(problem: Problem, state: SearchState) -> dict[str, Any]:
    """What was asked of a search, and whether asking again gives the same."""
    return {
        "format": 1,
        "options": problem.options.model_dump(),
        "model": state.model.model_dump(by_alias=True),
        "space": space(problem),
        "stopped": state.stopped,
        "reproducible": state.stopped == "generations" and len(state.table) == sum(map(len, problem.passes)),
    }


def space(problem: Problem) -> dict[str, Any]:
    """What a genome's levels mean, for who has no model: MACs of one row of one dense step, parts that levels count,
    lengths of the runs of blocks, steps run in every stage."""
    return {
        "dense_macs": problem.dense_macs,
        "parts": problem.space.grid.parts,
        "groups": list(problem.space.groups),
        "executed_steps": problem.executed,
    }


def effort(state: SearchState, memo: Memo, evaluations: Evaluations) -> dict[str, Any]:
    """What a search ran."""
    seen = state.generations[-1].schedules if state.generations else 0
    return {
        "schedules": {"seen": seen, "judged": len(memo)},
        "evaluations": evaluations.report(),
        "excluded": memo.excluded,
    }


def circumstances(state: SearchState) -> dict[str, Any]:
    """How long a search took, with which code, and on what."""
    return {
        "seconds": state.seconds,
        "code": state.code,
        "versions": {"diffes": diffes.__version__, **{name: version(name) for name in _VERSIONS}},
        "machine": {
            "device": state.options.device,
            "threads": torch.get_num_threads(),
            "platform": platform.platform(),
            "python": platform.python_version(),
        },
    }


def finite(value: float) -> float | None:
    """The value, None for what JSON cannot say."""
    return value if isfinite(value) else None


def write_json(document: object, path: Path) -> None:
    """Write a document, whole or not at all."""
    write_text_atomically(path, json.dumps(document, indent=1) + "\n")
