import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from diffes.blob import ALIGNMENT, Blob, read_header, write_blob
from diffes.errors import BundleError

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8]


def some_tensors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "odd": torch.randn(3, 5, generator=generator),
        "half": torch.randn(7, generator=generator).half(),
        "empty": torch.empty(0, 4),
        "brain": torch.randn(2, 3, 4, generator=generator).bfloat16(),
        "count": torch.arange(9),
        "scalar": torch.tensor(1.5, dtype=torch.float64),
        "turned": torch.randn(6, 4, generator=generator).T,
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    write_blob(path, some_tensors(), {"made": "for a test"})
    return path


def test_tensors_come_back_as_they_went_in_and_in_order(path: Path) -> None:
    blob, tensors = Blob(path), some_tensors()
    assert list(blob) == list(blob.keys()) == list(tensors)
    assert len(blob) == len(tensors)
    assert "odd" in blob
    assert "even" not in blob
    assert blob.metadata == {"made": "for a test"}
    for name, tensor in tensors.items():
        torch.testing.assert_close(blob[name], tensor, rtol=0, atol=0)


def test_safetensors_itself_reads_the_same(path: Path) -> None:
    theirs = load_file(path)
    for name, tensor in some_tensors().items():
        torch.testing.assert_close(theirs[name], tensor, rtol=0, atol=0)


@given(sizes=st.lists(st.tuples(st.integers(0, 300), st.sampled_from(DTYPES)), max_size=6), note=st.text(max_size=300))
def test_every_tensor_starts_at_an_aligned_offset(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[tuple[int, torch.dtype]], note: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "aligned.safetensors"
    tensors = {f"t{i}": torch.ones(size).to(dtype) for i, (size, dtype) in enumerate(sizes)}
    write_blob(path, tensors, {"note": note})
    entries, metadata = read_header(path)
    assert metadata["note"] == note
    assert all(entry.offset % ALIGNMENT == 0 for entry in entries.values())
    assert [entry.length for entry in entries.values()] == [size * dtype.itemsize for size, dtype in sizes]
    load_file(path)


def test_an_entry_says_where_the_bytes_lie(path: Path) -> None:
    entry = Blob(path).entries["odd"]
    piece = path.read_bytes()[entry.offset : entry.offset + entry.length]
    assert piece == some_tensors()["odd"].numpy().tobytes()


def test_tensors_are_views_of_one_map(path: Path) -> None:
    blob = Blob(path)
    assert blob["odd"].data_ptr() == blob["odd"].data_ptr()
    distance = blob.entries["brain"].offset - blob.entries["odd"].offset
    assert blob["brain"].data_ptr() - blob["odd"].data_ptr() == distance


def test_a_dtype_it_cannot_name_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot store odd.*complex64"):
        write_blob(tmp_path / "a", {"odd": torch.zeros(2, dtype=torch.complex64)}, {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cut", [1, 100, 4000])
def test_a_truncated_blob_is_refused(path: Path, cut: int) -> None:
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(BundleError, match="expected"):
        Blob(path)


def test_bytes_behind_the_last_tensor_are_refused(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(BundleError, match="wrong size"):
        Blob(path)


@pytest.mark.parametrize("content", [b"", b"1234", b"\xff" * 64, struct.pack("<Q", 4) + b"\xff\xfe{}"])
def test_garbage_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(BundleError, match="no readable blob"):
        Blob(tmp_path / "a")


def test_a_missing_blob_is_a_bundle_error(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"none\.safetensors is no readable blob"):
        Blob(tmp_path / "none.safetensors")


GOOD = {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}
BAD_HEADERS: list[Any] = [
    7,
    "text",
    [GOOD],
    {"a": [0, 4]},
    {"a": GOOD | {"dtype": "Q4"}},
    {"a": GOOD | {"shape": [5]}},
    {"a": GOOD | {"data_offsets": [-4, 0]}},
    {"a": {"dtype": "U8", "shape": [4]}},
    {"a": GOOD, "b": GOOD},
    {"a": GOOD | {"data_offsets": [2, 6]}},
]


@pytest.mark.parametrize("header", BAD_HEADERS, ids=str)
def test_a_header_that_does_not_describe_the_file_is_refused(tmp_path: Path, header: Any) -> None:
    text = json.dumps(header).encode()
    (tmp_path / "a").write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * 4)
    with pytest.raises(BundleError, match="expected"):
        Blob(tmp_path / "a")


def test_a_file_written_to_while_it_is_mapped_is_told(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    write_blob(path, some_tensors(), {})
    blob = Blob(path)
    blob.require_unchanged()
    with path.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"x")
    with pytest.raises(BundleError, match="was changed while it was in use"):
        blob.require_unchanged()


def test_a_file_put_in_its_place_leaves_the_mapped_one_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    write_blob(path, some_tensors(), {})
    blob = Blob(path)
    before = blob["odd"].clone()
    write_blob(path, {"odd": torch.zeros(3, 5)}, {})
    blob.require_unchanged()
    assert torch.equal(blob["odd"], before)
