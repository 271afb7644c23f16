from pathlib import Path

import pytest

from diffes.checkpoint import Checkpoint
from diffes.pruning import cache
from diffes.pruning.cache import cache_folder, calibration_for
from diffes.pruning.calibration import Calibration


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DIFFES_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_folder_is_the_one_asked_for_or_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFES_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("DIFFES_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "diffes"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "diffes"


def test_a_calibration_is_made_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tiny_checkpoint: Checkpoint, tiny_calibration: Calibration
) -> None:
    shares: list[float] = []
    made = calibration_for(tiny_checkpoint, tiny_calibration.spec, progress=shares.append)
    assert made.ordering_digest == tiny_calibration.ordering_digest
    assert shares[-1] == 1.0
    digest = tiny_calibration.spec.digest(tiny_checkpoint.identity.fingerprint)
    assert [path.name for path in folder.iterdir()] == [f"calibration-{digest}.safetensors"]
    monkeypatch.delattr(cache, "calibrate")  # a second run could not make it
    again = calibration_for(tiny_checkpoint, tiny_calibration.spec)
    assert again.ordering_digest == made.ordering_digest
