from pathlib import Path

import pytest
import torch

from diffes.checkpoint import Checkpoint
from diffes.errors import SearchError
from diffes.pruning.calibration import Calibration
from search.report.record import Record
from search.report.samples import Samples, draw_samples


@pytest.fixture(scope="module")
def samples(finished: Path, tiny_checkpoint: Checkpoint) -> Samples:
    return draw_samples(Record.load(finished), tiny_checkpoint, 3)


def test_every_schedule_has_an_image_of_every_label(samples: Samples) -> None:
    assert list(samples.images) == ["dense", "uniform", "searched"]
    assert samples.labels == ("airplane", "automobile", "bird")
    assert all(images.shape == (3, 3, 8, 8) for images in samples.images.values())


def test_there_are_no_more_images_than_labels(finished: Path, tiny_checkpoint: Checkpoint) -> None:
    assert len(draw_samples(Record.load(finished), tiny_checkpoint, 99).labels) == 10


def test_pruned_images_differ_from_dense_ones_by_what_is_said(samples: Samples) -> None:
    for name in ("uniform", "searched"):
        apart = (samples.images[name] - samples.images["dense"]).double().square().mean(dim=(1, 2, 3))
        assert [d.mse for d in samples.differences(name)] == pytest.approx(apart.tolist())
        assert apart.max() > 0
    assert [d.mse for d in samples.differences("dense")] == [0, 0, 0]


def test_similarity_is_said_only_of_images_as_large_as_its_window(samples: Samples) -> None:
    assert {d.ssim for d in samples.differences("uniform")} == {None}
    large = Samples(("cat",), (0,), {name: torch.zeros(1, 3, 16, 16) for name in ("dense", "searched")})
    assert large.differences("searched")[0].ssim == pytest.approx(1)


def test_another_calibration_is_refused(
    finished: Path, tiny_checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Calibration, "ordering_digest", "0123")
    with pytest.raises(SearchError, match="not the calibration of this search.*0123"):
        draw_samples(Record.load(finished), tiny_checkpoint, 1)
