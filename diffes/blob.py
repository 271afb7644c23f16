"""The one safetensors file of a bundle: every weight once, each at an aligned offset, read in place.

A safetensors file may have no holes, so alignment is bought with small filler tensors. Format:
8 bytes header length (little endian), JSON header, data.
"""

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffes.errors import BundleError
from diffes.files import atomic_path

ALIGNMENT = 256  # bytes; what GPU kernels and memory maps want of a tensor's start
FILLER = "__filler__."

_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.uint8: "U8",
}
_DTYPES = {name: dtype for dtype, name in _NAMES.items()}


@dataclass(frozen=True, slots=True)
class Entry:
    """Where one tensor lies: offset and length in bytes from the start of the file."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    offset: int
    length: int


def write_blob(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors in the given order, each starting at a multiple of ALIGNMENT; equal ones are the caller's care."""
    header, order = _plan(tensors, metadata)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(struct.pack("<Q", len(header)))
        file.write(header)
        for item in order:
            if isinstance(item, int):
                file.write(bytes(item))
            else:
                data = tensors[item].detach().cpu().contiguous()
                file.write(data.flatten().view(torch.uint8).numpy().tobytes())


def _plan(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> tuple[bytes, list[str | int]]:
    entries: dict[str, Any] = {"__metadata__": dict(metadata)}
    order: list[str | int] = []
    end = 0
    for name, tensor in tensors.items():
        gap = -end % ALIGNMENT
        if gap:
            entries[f"{FILLER}{len(order)}"] = _header_entry("U8", [gap], end, gap)
            order.append(gap)
            end += gap
        size = tensor.numel() * tensor.element_size()
        entries[name] = _header_entry(_NAMES[tensor.dtype], list(tensor.shape), end, size)
        order.append(name)
        end += size
    header = json.dumps(entries, separators=(",", ":")).encode()
    return header + b" " * (-(8 + len(header)) % ALIGNMENT), order


def _header_entry(dtype: str, shape: list[int], start: int, size: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, start + size]}


class Blob:
    """A mapped blob; tensors are views of the map and cost no memory until touched."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries, self.metadata = read_header(path)
        with path.open("rb") as file:
            self._map = mmap(file.fileno(), 0, access=ACCESS_READ)

    def __getitem__(self, name: str) -> Tensor:
        entry = self.entries[name]
        # torch warns that the buffer is read-only; nothing here writes into a blob
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            flat = torch.frombuffer(self._map, dtype=entry.dtype, count=prod(entry.shape), offset=entry.offset)
        return flat.view(entry.shape)

    def __contains__(self, name: str) -> bool:
        return name in self.entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def keys(self) -> Iterator[str]:
        """Names of the tensors, fillers left out."""
        return iter(self.entries)


def read_header(path: Path) -> tuple[dict[str, Entry], dict[str, str]]:
    """Entries and metadata of a blob; BundleError if the file is shorter than its header says."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            document = json.loads(file.read(length)) if length <= size else None
        if document is None:
            raise ValueError(f"header of {length} bytes in a file of {size}")
        metadata = document.pop("__metadata__", {})
        entries = {name: _entry(spec, 8 + length) for name, spec in document.items()}
    except (ValueError, KeyError, TypeError, struct.error) as error:
        raise BundleError(f"{path} is no readable blob", expected="a safetensors header", found=str(error)) from error
    end = max((entry.offset + entry.length for entry in entries.values()), default=8 + length)
    if end != size:
        raise BundleError(f"{path} has a wrong size", expected=f"{end} bytes", found=f"{size}")
    return {n: e for n, e in entries.items() if not n.startswith(FILLER)}, metadata


def _entry(spec: Mapping[str, Any], data_start: int) -> Entry:
    start, end = spec["data_offsets"]
    entry = Entry(
        dtype=_DTYPES[spec["dtype"]],
        shape=tuple(spec["shape"]),
        offset=data_start + start,
        length=end - start,
    )
    if prod(entry.shape) * entry.dtype.itemsize != entry.length:
        raise ValueError(f"shape {entry.shape} does not fill {entry.length} bytes")
    return entry
