"""The one safetensors file of a bundle: every weight once, each at an aligned offset, read in place.

A safetensors file may have no holes, so alignment is bought with small filler tensors. Format:
8 bytes header length (little endian), JSON header, data.
"""

import json
import os
import struct
import warnings
import weakref
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
                file.write(data.flatten().view(torch.uint8).numpy().data)


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
        if name.startswith(FILLER) or tensor.dtype not in _NAMES:
            raise BundleError(f"cannot store {name}", expected=f"one of {', '.join(_DTYPES)}", found=tensor.dtype)
        size = tensor.numel() * tensor.element_size()
        entries[name] = _header_entry(_NAMES[tensor.dtype], list(tensor.shape), end, size)
        order.append(name)
        end += size
    header = json.dumps(entries, separators=(",", ":")).encode()
    return header + b" " * (-(8 + len(header)) % ALIGNMENT), order


def _header_entry(dtype: str, shape: list[int], start: int, size: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, start + size]}


class Blob(Mapping[str, Tensor]):
    """A mapped blob; tensors are views of the map and cost no memory until touched."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries, self.metadata = read_header(path)
        self._file = os.open(path, os.O_RDONLY)  # kept open: a file of that name may be another one later
        weakref.finalize(self, os.close, self._file)
        self._map = mmap(self._file, 0, access=ACCESS_READ)
        self._opened = self._written()

    def require_unchanged(self) -> None:
        """BundleError if the mapped file was written to since it was opened; one put in its place does no harm."""
        if self._written() != self._opened:
            raise BundleError(
                f"{self.path} was changed while it was in use",
                expected="the weights that were verified",
                found="a file written to since",
                remedy="Export the bundle again, into a new folder, and restart.",
            )

    def _written(self) -> tuple[int, int]:
        status = os.fstat(self._file)
        return status.st_size, status.st_mtime_ns

    def __getitem__(self, name: str) -> Tensor:
        entry = self.entries[name]
        if not entry.length:  # frombuffer refuses empty views
            return torch.empty(entry.shape, dtype=entry.dtype)
        # torch warns that the buffer is read-only; nothing here writes into a blob
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            flat = torch.frombuffer(self._map, dtype=entry.dtype, count=prod(entry.shape), offset=entry.offset)
        return flat.view(entry.shape)

    @property
    def bytes(self) -> Tensor:
        """The whole file, header included, uint8; reading it reads the file."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return torch.frombuffer(self._map, dtype=torch.uint8)

    def __iter__(self) -> Iterator[str]:  # fillers left out
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


def read_header(path: Path) -> tuple[dict[str, Entry], dict[str, str]]:
    """Entries and metadata of a blob; BundleError unless its tensors fill the file without a hole."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > size:
                raise ValueError(f"a header of {length} bytes in a file of {size}")
            document = dict(json.loads(file.read(length)))
        metadata = document.pop("__metadata__", {})
        entries = {name: _entry(spec, 8 + length) for name, spec in document.items()}
    except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
        raise BundleError(f"{path} is no readable blob", expected="a safetensors header", found=error) from error
    end = 8 + length
    for entry in sorted(entries.values(), key=lambda entry: (entry.offset, entry.length)):
        if entry.offset != end:
            raise BundleError(f"{path} has a hole or an overlap", expected=f"a tensor at {end}", found=entry.offset)
        end += entry.length
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
