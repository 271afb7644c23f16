"""A few random images in the layout of the real data set."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet


def png(seed: int) -> bytes:
    """Blocks of random colours: images of noise alone would all look alike to a network."""
    colours = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    pixels = colours.repeat(8, axis=0).repeat(8, axis=1)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty images a class in train.parquet, one in test.parquet."""
    folder = tmp_path_factory.mktemp("cifar10")
    for name, count in (("train", 200), ("test", 10)):
        table = pa.table(
            {
                "image": [png(number) for number in range(count)],
                "label": pa.array([number % 10 for number in range(count)], pa.int8()),
            }
        )
        parquet.write_table(table, folder / f"{name}.parquet")
    return folder
