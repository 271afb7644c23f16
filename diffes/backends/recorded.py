"""Steps recorded once per (subgraph, bucket) and replayed: on a GPU, a CUDA graph starts hundreds of kernels in one go.

A recording reads and writes fixed addresses. Inputs are copied into one set of buffers a bucket, which all subgraphs
share, since only one step runs at a time.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

from diffes.backends.buckets import BUCKETS, Piece, pieces
from diffes.kernels.choice import choosing

Run = Callable[[], Tensor]
Key = TypeVar("Key", bound=Hashable)


class Recorder(Protocol):
    """Turns a run into what repeats it."""

    def __call__(self, run: Run) -> Run:
        """Run at least once; the result repeats it on what its inputs' memory then holds, into the same output."""


class CudaRecorder:
    """CUDA graphs in one memory pool: no two replay at once, so each may use what another's left behind."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(device)

    def __call__(self, run: Run) -> Run:
        """Run twice, for kernels to be compiled and memory to be had, then capture."""
        with torch.cuda.device(self._device):
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                for _ in range(2):
                    run()
            torch.cuda.current_stream().wait_stream(self._stream)
            graph = torch.cuda.CUDAGraph()
            # scratch memory of matrix products belongs to this graph alone: whoever else compiles or captures in this
            # process may free what is shared
            torch._C._cuda_clearCublasWorkspaces()
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
                output = run()
            torch._C._cuda_clearCublasWorkspaces()

        def replay() -> Tensor:
            graph.replay()
            return output

        return replay


class RecordedSteps(Generic[Key]):
    """Denoisers by key (subgraph ids or plans), each recorded when it is first asked for at a bucket.

    `shapes` are those of a step's inputs by name, without rows; `latents` is one of them.
    """

    def __init__(
        self,
        denoisers: Mapping[Key, Callable[..., Tensor]],
        shapes: Mapping[str, Sequence[int]],
        place: tuple[torch.device, torch.dtype],
        record: Recorder,
        buckets: Sequence[int] = BUCKETS,
    ) -> None:
        self._denoisers = denoisers
        self._shapes = shapes
        self._device, self._dtype = place
        self._record = record
        self._buckets = buckets
        self._inputs: dict[int, dict[str, Tensor]] = {}
        self._replays: dict[tuple[Key, int], Run] = {}

    def __call__(self, key: Key, inputs: Mapping[str, Tensor]) -> Tensor:
        """One step of `inputs` [B, ...] by name → prediction [B, C, h, w] float32 on the device, a new tensor."""
        rows = len(inputs["latents"])
        done = [self._piece(key, inputs, piece) for piece in pieces(rows, self._buckets)]
        return done[0] if len(done) == 1 else torch.cat(done)

    def _piece(self, key: Key, inputs: Mapping[str, Tensor], piece: Piece) -> Tensor:
        rows = piece.end - piece.start
        for name, buffer in self._buffers(piece.bucket).items():
            buffer[:rows].copy_(inputs[name][piece.start : piece.end], non_blocking=True)
        output = self._replay(key, piece.bucket)()
        # a copy: the next step writes over what this one left
        return output[:rows].to(torch.float32, copy=True)

    def _buffers(self, bucket: int) -> dict[str, Tensor]:
        """Rows that no piece has filled yet are zeros, and later those of an earlier step: finite, and never read."""
        if bucket not in self._inputs:
            self._inputs[bucket] = {
                name: torch.zeros(bucket, *shape, device=self._device, dtype=self._dtype)
                for name, shape in self._shapes.items()
            }
        return self._inputs[bucket]

    def _replay(self, key: Key, bucket: int) -> Run:
        if (key, bucket) not in self._replays:
            denoiser, buffers = self._denoisers[key], self._buffers(bucket)
            self._replays[key, bucket] = self._record(lambda: denoiser(**buffers))
        return self._replays[key, bucket]


def fastest_recorder(device: torch.device) -> Recorder:
    """Records on a GPU, and takes the fastest kernels for the shapes that it meets; what is found is kept."""
    from diffes.kernels.cuda import choices_of  # needs Triton, which only GPUs do

    capture, choices = CudaRecorder(device), choices_of(device)

    def record(run: Run) -> Run:
        with choosing(choices):
            replay = capture(run)
        choices.save()
        return replay

    return record
