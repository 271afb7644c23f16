"""Reading the images, and files that appear whole or not at all."""

from pathlib import Path

import pytest
import torch

from tests.examples.conftest import png


def test_parquet_and_folder_hold_the_same_images(data: Path, tmp_path: Path) -> None:
    from cifar10 import CLASSES, load_split

    for number in range(10):
        folder = tmp_path / "test" / CLASSES[number]
        folder.mkdir(parents=True)
        (folder / "image.png").write_bytes(png(number))
    from_parquet, from_folder = load_split(data, "test"), load_split(tmp_path, "test")
    assert torch.equal(from_parquet.images, from_folder.images)
    assert torch.equal(from_parquet.labels, from_folder.labels)
    assert from_parquet.images.shape == (10, 3, 32, 32)
    assert from_parquet.images.dtype == torch.uint8


def test_a_missing_split_is_named(tmp_path: Path) -> None:
    from cifar10 import load_split

    with pytest.raises(SystemExit, match=r"train\.parquet"):
        load_split(tmp_path, "train")


def test_a_folder_of_an_unknown_class_is_named(tmp_path: Path) -> None:
    from cifar10 import load_split

    (tmp_path / "train" / "unicorn").mkdir(parents=True)
    with pytest.raises(SystemExit, match="unicorn"):
        load_split(tmp_path, "train")


def test_pixels_map_to_the_unit_range() -> None:
    from cifar10 import to_unit_range

    values = to_unit_range(torch.tensor([0, 255], dtype=torch.uint8))
    assert values.tolist() == [-1.0, 1.0]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    from cifar10 import replacing

    def half_written(target: Path) -> None:
        with replacing(target) as partial:
            partial.write_text("half")
            raise RuntimeError

    target = tmp_path / "file"
    target.write_text("old")
    with pytest.raises(RuntimeError):
        half_written(target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]
