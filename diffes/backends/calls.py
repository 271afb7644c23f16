"""How a backend in torch's tensors calls its graphs: as they are, or recorded once per (graph, bucket) and replayed.

A recording reads and writes fixed addresses. Inputs are copied into one set of buffers a bucket, which all graphs of
one kind share, since only one of them runs at a time.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

from diffes.backends.buckets import BUCKETS, Piece, pieces
from diffes.backends.recorder import Outputs, Recorder, Run
from diffes.prompts import RowSpec

Key = TypeVar("Key", bound=Hashable)
Asked = TypeVar("Asked", bound=Hashable, contravariant=True)


class Calls(Protocol[Asked]):
    """Graphs by key (subgraph ids or plans) that have the same inputs by name."""

    def __call__(self, key: Asked, inputs: Mapping[str, Tensor], /) -> Outputs:
        """One call on `inputs` [B, ...] by name → outputs [B, ...] on the device, new tensors."""


class PlainCalls(Generic[Key]):
    """Run as they come."""

    def __init__(
        self,
        calls: Mapping[Key, Callable[..., Outputs]],
        inputs: Mapping[str, RowSpec],
        device: torch.device,
        *,
        dtype: torch.dtype | None = torch.float32,
    ) -> None:
        self._calls = calls
        self._inputs = inputs
        self._device = device
        self._dtype = dtype

    def __call__(self, key: Key, inputs: Mapping[str, Tensor]) -> Outputs:
        """One call on `inputs` [B, ...] by name → outputs [B, ...] on the device."""
        placed = {name: inputs[name].to(self._device, given.dtype) for name, given in self._inputs.items()}
        return [output.to(self._dtype or output.dtype) for output in self._calls[key](**placed)]


Shapes = tuple[tuple[int, ...], ...]  # of a row of every input


class RecordedCalls(Generic[Key]):
    """Each recorded when it is first asked for at a bucket, and at rows of other shapes again."""

    def __init__(
        self,
        calls: Mapping[Key, Callable[..., Outputs]],
        inputs: Mapping[str, RowSpec],
        device: torch.device,
        record: Recorder,
        *,
        buckets: Sequence[int] = BUCKETS,
        dtype: torch.dtype | None = torch.float32,
    ) -> None:
        self._calls = calls
        self._inputs = inputs
        self._device = device
        self._record = record
        self._buckets = buckets
        self._dtype = dtype
        self._buffers: dict[tuple[int, Shapes], dict[str, Tensor]] = {}
        self._replays: dict[tuple[Key, int, Shapes], Run] = {}

    def __call__(self, key: Key, inputs: Mapping[str, Tensor]) -> Outputs:
        """One call on `inputs` [B, ...] by name → outputs [B, ...] on the device, new tensors."""
        rows = len(next(iter(inputs.values())))
        done = [self._piece(key, inputs, piece) for piece in pieces(rows, self._buckets)]
        return done[0] if len(done) == 1 else [torch.cat(parts) for parts in zip(*done, strict=True)]

    def _piece(self, key: Key, inputs: Mapping[str, Tensor], piece: Piece) -> Outputs:
        rows, shapes = piece.end - piece.start, tuple(tuple(inputs[name].shape[1:]) for name in self._inputs)
        for name, buffer in self._buffers_of(piece.bucket, shapes).items():
            buffer[:rows].copy_(inputs[name][piece.start : piece.end], non_blocking=True)
        outputs = self._replay(key, piece.bucket, shapes)()
        # copies: the next call writes over what this one left
        return [output[:rows].to(self._dtype or output.dtype, copy=True) for output in outputs]

    def _buffers_of(self, bucket: int, shapes: Shapes) -> dict[str, Tensor]:
        """Rows that no piece has filled yet are zeros, and later those of an earlier call: finite, and never read."""
        if (bucket, shapes) not in self._buffers:
            self._buffers[bucket, shapes] = {
                name: torch.zeros(bucket, *shape, device=self._device, dtype=given.dtype)
                for (name, given), shape in zip(self._inputs.items(), shapes, strict=True)
            }
        return self._buffers[bucket, shapes]

    def _replay(self, key: Key, bucket: int, shapes: Shapes) -> Run:
        if (key, bucket, shapes) not in self._replays:
            call, buffers = self._calls[key], self._buffers_of(bucket, shapes)
            self._replays[key, bucket, shapes] = self._record(lambda: call(**buffers))
        return self._replays[key, bucket, shapes]


def step_inputs(shapes: Mapping[str, Sequence[int]], dtype: torch.dtype) -> dict[str, RowSpec]:
    """Of denoisers: `shapes` by name, all of one type."""
    return {name: RowSpec(dtype, tuple(shape)) for name, shape in shapes.items()}


def alone(call: Callable[..., Tensor]) -> Callable[..., Outputs]:
    """A call whose one output is not in a sequence."""
    return lambda **inputs: (call(**inputs),)
