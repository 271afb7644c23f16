"""What both training scripts share: the images, the clock, and files that appear whole.

CIFAR-10: Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images".
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from torch import Tensor

CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
SIDE = 32

Encoded = list[tuple[bytes, int]]  # one image file and its class number


@dataclass(frozen=True)
class Split:
    """Images uint8 [N, 3, 32, 32] and class numbers int64 [N]."""

    images: Tensor
    labels: Tensor

    def to(self, device: torch.device) -> Split:
        """The same split on `device`."""
        return Split(self.images.to(device), self.labels.to(device))

    def __len__(self) -> int:
        return len(self.labels)


def load_split(data: Path, name: str) -> Split:
    """Reads `<data>/<name>.parquet` (columns image, label) or `<data>/<name>/<class>/*`.

    Exits with a sentence when neither is there or an image is not 32 x 32.
    """
    if (data / f"{name}.parquet").is_file():
        encoded = _read_parquet(data / f"{name}.parquet")
    elif (data / name).is_dir():
        encoded = _read_folder(data / name)
    else:
        raise SystemExit(f"Expected {data / name}.parquet or {data / name}/<class>/*, found neither.")
    with ThreadPoolExecutor() as pool:
        images = list(pool.map(_decode, (image for image, _ in encoded)))
    return Split(
        torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous(),
        torch.tensor([label for _, label in encoded]),
    )


def to_unit_range(images: Tensor) -> Tensor:
    """uint8 [0, 255] to float32 [-1, 1]."""
    return images.float() / 127.5 - 1


def _read_parquet(path: Path) -> Encoded:
    from pyarrow import parquet  # an image folder needs no pyarrow

    table = parquet.read_table(path, columns=["image", "label"])
    images = table.column("image").to_pylist()
    # Data sets on model hubs wrap the bytes: {"bytes": ..., "path": ...}.
    unwrapped = [image["bytes"] if isinstance(image, dict) else image for image in images]
    return list(zip(unwrapped, table.column("label").to_pylist(), strict=True))


def _read_folder(folder: Path) -> Encoded:
    unknown = sorted({path.name for path in folder.iterdir()} - set(CLASSES))
    if unknown:
        raise SystemExit(f"Expected folders named {', '.join(CLASSES)}, found {unknown[0]!r}.")
    return [
        (path.read_bytes(), label) for label, name in enumerate(CLASSES) for path in sorted((folder / name).glob("*"))
    ]


def _decode(encoded: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    with Image.open(io.BytesIO(encoded)) as image:
        pixels = np.asarray(image.convert("RGB"))
    if pixels.shape != (SIDE, SIDE, 3):
        raise SystemExit(f"Expected images of {SIDE} x {SIDE} pixels, found {pixels.shape[:2]}.")
    return pixels


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place once the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        partial.chmod(0o644)  # safetensors writes for its owner alone
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


class Clock:
    """Seconds spent on training, over all runs that a resumed training is made of."""

    def __init__(self, seconds: float = 0.0) -> None:
        self._before = seconds
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        return self._before + time.perf_counter() - self._started


class Journal:
    """Lines for the reader and, in `path`, the same as JSON for programs."""

    def __init__(self, path: Path, console: Console) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._console = console

    def note(self, progress: float, seconds: float, **values: float) -> None:
        """Records `values` at `progress` in [0, 1] after `seconds` of training."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"progress": progress, "seconds": seconds, **values}) + "\n")
        left = f"{seconds / progress - seconds:5.0f}" if progress else "    ?"
        shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        # A terminal gets one line that changes, a log file gets one line a note.
        end = "\r" if self._console.is_terminal else "\n"
        self._console.print(f"{progress:6.1%}  {left} s left  {shown}", end=end, soft_wrap=True)
