"""Searches of the tiny model cut and killed."""

from pathlib import Path

import pytest

from diffes.checkpoint import Checkpoint
from tests.search.conftest import small_options
from tests.search.searching import count_distances, kill_after_generations, log_of, search


@pytest.fixture(scope="module")
def by_rollouts(tiny_checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A search whose table is measured by rollouts too, and how many rollouts it took."""
    out = tmp_path_factory.mktemp("search") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        made = count_distances(patch, cut_at=None)
        search(tiny_checkpoint, small_options(table="rollout"), out)
    return out, len(made)


# Shares, not counts: how many schedules a search visits differs between processors, whose sums round differently.
@pytest.mark.parametrize("share", [0.05, 0.6, 0.8, 0.97], ids=["table", "first population", "generation", "held-out"])
def test_a_search_cut_anywhere_resumes_to_the_same_end(
    by_rollouts: tuple[Path, int],
    tiny_checkpoint: Checkpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    share: float,
) -> None:
    whole, rollouts = by_rollouts
    made = count_distances(monkeypatch, cut_at=max(1, int(share * rollouts)))
    options = small_options(table="rollout")
    with pytest.raises(KeyboardInterrupt):
        search(tiny_checkpoint, options, tmp_path)
    search(tiny_checkpoint, options, tmp_path, resume=True)
    assert len(made) == rollouts, "something was computed twice"
    assert (tmp_path / "schedule.json").read_bytes() == (whole / "schedule.json").read_bytes()
    assert log_of(tmp_path) == log_of(whole)


@pytest.fixture(scope="module")
def by_blocks(tiny_checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A search with levels of every block's own, and how many rollouts it took."""
    out = tmp_path_factory.mktemp("search") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        made = count_distances(patch, cut_at=None)
        search(tiny_checkpoint, small_options(genes="block"), out)
    return out, len(made)


@pytest.mark.parametrize("share", [0.01, 0.25, 0.55, 0.75, 0.97], ids=lambda share: f"after {share:.0%}")
def test_a_search_of_blocks_cut_anywhere_on_the_ladder_resumes_to_the_same_end(
    by_blocks: tuple[Path, int],
    tiny_checkpoint: Checkpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    share: float,
) -> None:
    whole, rollouts = by_blocks
    count_distances(monkeypatch, cut_at=max(1, int(share * rollouts)))
    with pytest.raises(KeyboardInterrupt):
        search(tiny_checkpoint, small_options(genes="block"), tmp_path)
    search(tiny_checkpoint, small_options(genes="block"), tmp_path, resume=True)
    assert (tmp_path / "schedule.json").read_bytes() == (whole / "schedule.json").read_bytes()
    assert log_of(tmp_path) == log_of(whole)


def test_a_killed_search_resumes_to_the_same_end(
    tiny_checkpoint: Checkpoint, tiny_model_folder: Path, tmp_path: Path
) -> None:
    options = small_options(generations=30)
    search(tiny_checkpoint, options, tmp_path / "whole")
    killed = tmp_path / "killed"
    kill_after_generations(5, options, tiny_model_folder, killed)
    assert not (killed / "schedule.json").exists()
    search(tiny_checkpoint, options, killed, resume=True)
    assert (killed / "schedule.json").read_bytes() == (tmp_path / "whole/schedule.json").read_bytes()
    assert log_of(killed) == log_of(tmp_path / "whole")
