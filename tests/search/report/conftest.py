"""Folders of searches of the tiny model, finished and cut off."""

import shutil
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from diffes.checkpoint import Checkpoint
from search.job import run_search
from search.state import SearchState
from tests.search.conftest import small_options

INTERRUPTED = ("checkpoint.json", "table.json", "calibration.safetensors")


def searched(checkpoint: Checkpoint, out: Path, **options: object) -> Path:
    small = {"population": 4, "generations": 2, "probes": 2, "screen_probes": 1, "table_levels": 2}
    run_search(checkpoint, small_options(**(small | options)), out, console=Console(file=StringIO()))
    return out


@pytest.fixture(scope="session")
def finished(tiny_checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search with a level per stage. Copy it to change it."""
    return searched(tiny_checkpoint, tmp_path_factory.mktemp("report") / "finished")


@pytest.fixture
def interrupted(finished: Path, tmp_path: Path) -> Path:
    """What a search killed in its second generation leaves."""
    folder = tmp_path / "interrupted"
    folder.mkdir()
    for name in INTERRUPTED:
        shutil.copy(finished / name, folder / name)
    state = SearchState.load(folder)
    state.generations, state.stopped = state.generations[:1], None
    state.save(folder)
    return folder
