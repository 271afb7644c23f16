"""Runs scripts as a user would, but in this process: importing torch anew takes seconds."""

import io
import runpy
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]


class Done(NamedTuple):
    """How a script ended: what it exited with (None is well) and what it wrote."""

    error: str | int | None
    output: str


def train(script: str, data: Path, folder: Path, *more: object) -> str | int | None:
    """How a training of few steps ended that leaves its model in folder/out."""
    places = ("--data", data, "--out", folder / "out", "--work", folder / "work")
    return run(script, *places, "--device", "cpu", "--no-compile", "--steps", 3, *more).error


def run(script: str, *arguments: object) -> Done:
    """Runs `script`, a path in the repository, with `arguments`."""
    path = ROOT / script
    output = io.StringIO()
    error: str | int | None = None
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(output):
        patch.setattr(sys, "argv", [str(path), *map(str, arguments)])
        patch.setattr(sys, "path", [str(path.parent), *sys.path])
        try:
            runpy.run_path(str(path), run_name="__main__")
        except SystemExit as end:
            error = end.code
    return Done(error, output.getvalue())
