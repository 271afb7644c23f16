"""Searches of a front cut and killed."""

from pathlib import Path

import pytest

from diffes.checkpoint import Checkpoint
from tests.search.conftest import front_options
from tests.search.searching import count_distances, kill_after_generations, log_of, search_front


@pytest.fixture(scope="module")
def whole(tiny_checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A search of a front, and how many rollouts it took."""
    out = tmp_path_factory.mktemp("front") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        made = count_distances(patch, cut_at=None)
        search_front(tiny_checkpoint, front_options(), out)
    return out, len(made)


@pytest.mark.parametrize("share", [0.01, 0.2, 0.45, 0.6, 0.75, 0.97], ids=lambda share: f"after {share:.0%}")
def test_a_front_cut_anywhere_resumes_to_the_same_end(
    whole: tuple[Path, int],
    tiny_checkpoint: Checkpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    share: float,
) -> None:
    out, rollouts = whole
    made = count_distances(monkeypatch, cut_at=max(1, int(share * rollouts)))
    with pytest.raises(KeyboardInterrupt):
        search_front(tiny_checkpoint, front_options(), tmp_path)
    search_front(tiny_checkpoint, front_options(), tmp_path, resume=True)
    assert len(made) == rollouts, "something was computed twice"
    assert (tmp_path / "pareto.json").read_bytes() == (out / "pareto.json").read_bytes()
    assert log_of(tmp_path) == log_of(out)


def test_a_killed_front_resumes_to_the_same_end(
    tiny_checkpoint: Checkpoint, tiny_model_folder: Path, tmp_path: Path
) -> None:
    options = front_options(generations=20)
    search_front(tiny_checkpoint, options, tmp_path / "whole")
    killed = tmp_path / "killed"
    kill_after_generations(4, options, tiny_model_folder, killed)
    assert not (killed / "pareto.json").exists()
    search_front(tiny_checkpoint, options, killed, resume=True)
    assert (killed / "pareto.json").read_bytes() == (tmp_path / "whole/pareto.json").read_bytes()
    assert log_of(killed) == log_of(tmp_path / "whole")
