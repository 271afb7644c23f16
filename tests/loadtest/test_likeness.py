"""Equal images are at no distance, others at some, and where there is none it is said why."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from diffes.images import png
from diffes.quality.features import FeatureExtractor
from loadtest.likeness import Likeness, images_of, likeness
from loadtest.rows import Row
from tests.loadtest.trials import row
from tests.quality.conftest import extractor

__all__ = ["extractor"]

SIZE = 32
Key = tuple[int, int, int | None, str | None]


def noise(seed: int, size: int = SIZE) -> Tensor:
    return torch.rand(3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def written(folder: Path, count: int, image: Callable[[int], Tensor] = noise) -> dict[Key, Path]:
    """So many images, each of another seed."""
    folder.mkdir()
    for seed in range(count):
        (folder / f"{seed}.png").write_bytes(png(image(seed)))
    return {(seed % 10, seed, None, None): folder / f"{seed}.png" for seed in range(count)}


def compared(tmp_path: Path, extractor: FeatureExtractor, image: Callable[[int], Tensor], count: int = 12) -> Likeness:
    """Of images as this one makes them, to noise."""
    return likeness("dense", written(tmp_path / "a", count, image), written(tmp_path / "b", count), extractor)


def test_equal_images_are_at_no_distance(tmp_path: Path, extractor: FeatureExtractor) -> None:
    found = compared(tmp_path, extractor, noise)
    assert (found.of, found.images, found.missing) == ("dense", 12, "")
    assert found.frechet == pytest.approx(0, abs=1e-9)


def test_the_more_images_differ_the_farther_they_are(tmp_path: Path, extractor: FeatureExtractor) -> None:
    distances = []
    for index, part in enumerate((0.0, 0.1, 0.5, 1.0)):
        folder = tmp_path / str(index)
        folder.mkdir()
        found = compared(folder, extractor, lambda seed, part=part: noise(seed) * (1 - part) + part)  # type: ignore[misc]
        assert found.frechet is not None
        distances.append(found.frechet)
    assert distances == sorted(distances)
    assert distances[-1] > 10 * distances[1] > 0


def test_only_images_that_both_made_are_compared(tmp_path: Path, extractor: FeatureExtractor) -> None:
    ours, theirs = written(tmp_path / "a", 20), written(tmp_path / "b", 14)
    theirs.update({(0, 100 + seed, None, None): tmp_path / "none.png" for seed in range(9)})
    found = likeness("dense", ours, theirs, extractor)
    assert found.images == 14
    assert found.frechet == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("count", "told"), [(5, "only 5 images in common, and 5 features"), (6, "")])
def test_too_few_images_have_no_distance(tmp_path: Path, extractor: FeatureExtractor, count: int, told: str) -> None:
    found = compared(tmp_path, extractor, noise, count)
    assert (found.images, found.frechet is None, found.missing) == (count, bool(told), told)


def test_images_of_another_size_have_no_distance(tmp_path: Path, extractor: FeatureExtractor) -> None:
    found = compared(tmp_path, extractor, lambda seed: noise(seed, 16))
    assert found.frechet is None
    assert found.missing == ("images do not fit the feature network: expected [N, 3, 32, 32], found [12, 3, 16, 16]")


@pytest.mark.parametrize("content", [b"", png(noise(0))[:100]], ids=["empty", "cut"])
def test_a_damaged_image_leaves_no_distance(tmp_path: Path, extractor: FeatureExtractor, content: bytes) -> None:
    ours, theirs = written(tmp_path / "a", 12), written(tmp_path / "b", 12)
    (tmp_path / "b" / "3.png").write_bytes(content)
    found = likeness("dense", ours, theirs, extractor)
    assert found.frechet is None
    assert "image file" in found.missing


def test_every_image_of_every_answer_is_known_by_what_it_depends_on() -> None:
    rows: list[Row] = [
        row(0, label=3, seed=5, images=2, steps=10, digests=("aa", "bb")),
        row(1, label=3, seed=5, digests=("cc",)),
        row(2, label=3, seed=6, steps=10, digests=("dd",)),
        row(3, "left", digests=("ee",)),
        row(4, "failed", digests=("ff",)),
    ]
    assert images_of(rows, Path("images")) == {
        (3, 5, 10, None): Path("images/aa.png"),
        (3, 6, 10, None): Path("images/bb.png"),
        (3, 5, None, None): Path("images/cc.png"),
    }
