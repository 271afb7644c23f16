"""The feature training writes a folder that the extractor opens."""

from pathlib import Path

import numpy as np
import pytest
import torch

from diffes.quality.features import FeatureExtractor
from tests.examples.scripts import run

SCRIPT = "examples/train_cifar10_features.py"


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("features")
    done = run(SCRIPT, "--data", data, "--out", out, "--device", "cpu", "--steps", 48, "--batch", 8)
    assert done.error is None
    assert "test accuracy" in done.output
    return out


def test_the_saved_folder_opens_and_classifies(trained: Path) -> None:
    extractor = FeatureExtractor.load(trained)
    batch = extractor(torch.zeros(2, 3, 32, 32))
    assert batch.features.shape == (2, 128)
    assert extractor.statistics.count == 200


def test_the_saved_statistics_are_those_of_the_saved_weights(trained: Path, data: Path) -> None:
    from pyarrow import parquet

    extractor = FeatureExtractor.load(trained)
    images = [decoded(png) for png in parquet.read_table(data / "train.parquet")["image"]]
    features = extractor(torch.stack(images)).features
    np.testing.assert_allclose(features.mean(axis=0), extractor.statistics.mean, atol=1e-5)


def test_a_batch_larger_than_the_data_is_refused(data: Path, tmp_path: Path) -> None:
    done = run(SCRIPT, "--data", data, "--out", tmp_path, "--device", "cpu", "--steps", 1, "--batch", 999)
    assert "at most 200 images" in str(done.error)


def decoded(encoded: object) -> torch.Tensor:
    import io

    from PIL import Image

    pixels = np.asarray(Image.open(io.BytesIO(encoded.as_py())))  # type: ignore[attr-defined]
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 127.5 - 1
