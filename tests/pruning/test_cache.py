from pathlib import Path

import pytest

from diffes.checkpoint import Checkpoint
from diffes.pruning import cache
from diffes.pruning.cache import calibration_for
from diffes.pruning.calibration import Calibration


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DIFFES_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


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
