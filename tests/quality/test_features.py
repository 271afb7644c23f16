"""The feature network: what it returns, what it reads, and what it refuses."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file
from torch import Tensor

from diffes.errors import QualityError
from diffes.quality.features import FeatureExtractor, FeatureNet, FeatureNetConfig
from diffes.quality.frechet import GaussianStatistics, frechet_distance

CONFIG = FeatureNetConfig(("cat", "dog", "owl"), channels=(4, 6, 8, 8), features=5)


def images(count: int, seed: int = 0) -> Tensor:
    return torch.rand((count, 3, 32, 32), generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    net = FeatureNet(CONFIG).train()
    net(images(64))  # gives the batch norms something to remember
    net.eval()
    with torch.inference_mode():
        features = net.features(images(64)).double().numpy()
    statistics = GaussianStatistics.from_features(features)
    folder = tmp_path_factory.mktemp("features")
    (folder / "config.json").write_text(CONFIG.to_json())
    save_file(net.state_dict(), folder / "model.safetensors")
    save_arrays(
        {
            "mean": statistics.mean,
            "covariance": statistics.covariance,
            "count": np.array(statistics.count),
        },
        folder / "statistics.safetensors",
    )
    return folder


def copy_of(folder: Path, target: Path, without: str = "") -> Path:
    for file in folder.iterdir():
        if file.name != without:
            (target / file.name).write_bytes(file.read_bytes())
    return target


def test_config_survives_json() -> None:
    assert FeatureNetConfig.from_json(CONFIG.to_json()) == CONFIG


def test_logits_are_the_head_of_the_features() -> None:
    net = FeatureNet(CONFIG).eval()
    with torch.inference_mode():
        torch.testing.assert_close(net(images(2)), net.head(net.features(images(2))))
        assert net.features(images(2)).shape == (2, CONFIG.features)


def test_the_default_network_fits_five_megabytes_in_half_precision() -> None:
    net = FeatureNet(FeatureNetConfig(("a",) * 10))
    assert 2 * sum(value.numel() for value in net.state_dict().values()) < 5e6


def test_a_batch_holds_float64_features_and_class_numbers(folder: Path) -> None:
    batch = FeatureExtractor.load(folder)(images(7))
    assert batch.features.shape == (7, 5)
    assert batch.labels.shape == (7,)
    assert batch.features.dtype.name == "float64"
    assert batch.labels.dtype.name == "int64"
    assert set(batch.labels) <= {0, 1, 2}


def test_an_image_is_seen_alike_alone_and_in_a_batch(folder: Path) -> None:
    extractor = FeatureExtractor.load(folder)
    together = extractor(images(9)).features
    alone = np.concatenate([extractor(image[None]).features for image in images(9)])
    np.testing.assert_allclose(alone, together, atol=1e-5)


def test_large_sets_go_through_in_parts(folder: Path) -> None:
    whole = FeatureExtractor.load(folder)
    parts = FeatureExtractor(whole.net, whole.statistics, batch=3)
    np.testing.assert_allclose(parts(images(8)).features, whole(images(8)).features, atol=1e-5)


def test_whitened_training_images_have_unit_covariance(folder: Path) -> None:
    extractor = FeatureExtractor.load(folder)
    whitened = extractor.whiten(extractor(images(64)).features)
    np.testing.assert_allclose(np.cov(whitened, rowvar=False), np.eye(5), atol=1e-3)
    np.testing.assert_allclose(whitened.mean(axis=0), 0, atol=1e-3)


def test_training_images_are_nearer_to_their_statistics_than_others(folder: Path) -> None:
    extractor = FeatureExtractor.load(folder)
    reference = extractor.statistics.whitened_by(extractor.statistics)

    def distance(of: Tensor) -> float:
        whitened = extractor.whiten(extractor(of).features)
        return frechet_distance(GaussianStatistics.from_features(whitened), reference)

    assert distance(images(64)) == pytest.approx(0, abs=1e-3)
    assert distance(images(64) * 0.2) > 1


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "statistics.safetensors"])
def test_a_folder_without_a_file_is_refused_by_its_name(folder: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(QualityError, match=name):
        FeatureExtractor.load(copy_of(folder, tmp_path, without=name))


def test_damaged_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    copy_of(folder, tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(QualityError, match="cannot be loaded"):
        FeatureExtractor.load(tmp_path)


def test_weights_of_another_network_are_refused(folder: Path, tmp_path: Path) -> None:
    copy_of(folder, tmp_path)
    other = FeatureNetConfig(CONFIG.classes, channels=(4, 6, 8, 9), features=5)
    (tmp_path / "config.json").write_text(other.to_json())
    with pytest.raises(QualityError, match="cannot be loaded"):
        FeatureExtractor.load(tmp_path)


@pytest.mark.parametrize("text", ["", "{}", '{"format": 2}', "[1]"])
def test_an_unreadable_config_is_refused(text: str) -> None:
    with pytest.raises(QualityError):
        FeatureNetConfig.from_json(text)


def test_a_network_of_no_channels_is_refused() -> None:
    with pytest.raises(QualityError, match="cannot be built"):
        FeatureNetConfig(("a",), channels=(0, 1, 1, 1))


@pytest.mark.parametrize("shape", [(2, 3, 16, 16), (0, 3, 32, 32), (2, 1, 32, 32)])
def test_images_of_another_shape_are_refused(folder: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(QualityError, match="do not fit"):
        FeatureExtractor.load(folder)(torch.zeros(shape))


def test_statistics_of_another_width_are_refused() -> None:
    statistics = GaussianStatistics(np.zeros(4), np.eye(4), 10)
    with pytest.raises(QualityError, match="another network"):
        FeatureExtractor(FeatureNet(CONFIG), statistics)
