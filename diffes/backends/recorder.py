"""What turns a call into one that is repeated at once: on a GPU, a CUDA graph starts hundreds of kernels in one go."""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from diffes.kernels.choice import choosing

Outputs = Sequence[Tensor]
Run = Callable[[], Outputs]


class Recorder(Protocol):
    """Turns a run into what repeats it."""

    def __call__(self, run: Run) -> Run:
        """Run at least once; the result repeats it on what its inputs' memory then holds, into the same outputs."""


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
                outputs = run()
            torch._C._cuda_clearCublasWorkspaces()

        def replay() -> Outputs:
            graph.replay()
            return outputs

        return replay


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
