"""ONNX Runtime sessions on torch's memory: weights are views of one buffer, inputs and outputs are torch tensors.

Nothing is copied to the host. A weight that stands for an initializer is checked first: ONNX Runtime takes any shape
for it, and asks the file for what it folds.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch
from torch import Tensor

from diffes.backends.operators.fuse import fuse, is_fused
from diffes.backends.operators.kernels import library
from diffes.backends.sessions import (
    ERRORS_ONLY,
    arena,
    memory_errors,
    own_memory,
    provider_for,
    start_session,
)
from diffes.errors import BackendError
from diffes.graphs import read_graph
from diffes.manifest import DTYPES, TensorSpec

_ONNX_TYPES = {
    torch.float32: onnx.TensorProto.FLOAT,
    torch.float16: onnx.TensorProto.FLOAT16,
    torch.bfloat16: onnx.TensorProto.BFLOAT16,
    torch.int64: onnx.TensorProto.INT64,
}
_TYPES = {**DTYPES, "int64": torch.int64}


class BoundGraph:
    """One graph on one device. With `replayed`, what a GPU does for inputs of one shape is captured once and replayed.

    Replaying asks for inputs at the same addresses every time; outputs for one shape are always the same memory. Free
    sides of an output are those of the latents, `grown` times.
    """

    def __init__(
        self,
        path: Path,
        outputs: Sequence[TensorSpec],
        weights: Mapping[str, Tensor],
        device: torch.device,
        *,
        replayed: bool = False,
        grown: int = 1,
    ) -> None:
        """BackendError if a weight is missing or of another shape or type, or the device cannot run the graph."""
        model = read_graph(path)
        check_weights(path, model, weights)
        self._specs = outputs
        self._device = device
        self._dtype = next((tensor.dtype for tensor in weights.values()), torch.float32)
        self._replayed = replayed and device.type == "cuda"
        self._grown = grown
        self._stream = _stream_of(device) if device.type == "cuda" else None
        # a session reads its weights where they are and does not keep them alive
        self._weights = {name: own_memory(tensor) for name, tensor in weights.items()}
        fused = fuse(model, attention=self._dtype.itemsize == 2 or device.type == "cpu")
        self._session = self._open(path, fused)
        self._kept: dict[tuple[int, ...], tuple[str, list[Tensor]]] = {}

    def __call__(self, **inputs: Tensor) -> list[Tensor]:
        """Inputs by name, on the device and of the graph's types, [B, ...] → outputs, overwritten by the next call."""
        graph, outputs = self._outputs_of(inputs)
        binding = self._session.io_binding()
        for name, tensor in inputs.items():
            binding.bind_input(name, *self._place(tensor))
        for spec, tensor in zip(self._specs, outputs, strict=True):
            binding.bind_output(spec.name, *self._place(tensor))
        options = onnxruntime.RunOptions()
        options.add_run_config_entry("gpu_graph_id", graph)
        if self._stream is None:
            with memory_errors():
                self._session.run_with_iobinding(binding, options)
            return outputs
        options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        waiting = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(waiting)
        with memory_errors():
            self._session.run_with_iobinding(binding, options)
        waiting.wait_stream(self._stream)
        return outputs

    def _outputs_of(self, inputs: Mapping[str, Tensor]) -> tuple[str, list[Tensor]]:
        """By what name ONNX Runtime keeps the recording, and where outputs go."""
        rows, sides = len(next(iter(inputs.values()))), inputs["latents"].shape[2:] if "latents" in inputs else ()
        key = (rows, *sides)
        if key in self._kept:
            return self._kept[key]
        outputs = [
            torch.empty(self._shape(spec, rows, sides), dtype=_TYPES[spec.dtype], device=self._device)
            for spec in self._specs
        ]
        if not self._replayed:
            return "-1", outputs
        return self._kept.setdefault(key, (str(len(self._kept) + 1), outputs))  # 0 is what is not named

    def _shape(self, spec: TensorSpec, rows: int, sides: Sequence[int]) -> list[int]:
        grown = dict(enumerate((side * self._grown for side in sides), 2))
        return [rows, *(grown[axis] if size is None else size for axis, size in enumerate(spec.shape[1:], 1))]

    def _place(self, tensor: Tensor) -> tuple[str, int, int, list[int], int]:
        if not tensor.is_contiguous():
            raise BackendError("a bound tensor must be contiguous", expected="one run of memory", found=tensor.stride())
        kind, index = tensor.device.type, tensor.device.index or 0
        return kind, index, _ONNX_TYPES[tensor.dtype], list(tensor.shape), tensor.data_ptr()

    def _open(self, path: Path, model: onnx.ModelProto) -> Any:
        provider = provider_for(str(self._device))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = ERRORS_ONLY
        options.add_session_config_entry("session.disable_prepacking", "1")
        if self._stream is not None:
            _share_arena(self._device.index or 0)
            options.add_session_config_entry("session.use_env_allocators", "1")
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.parent))
        for name, value in self._weights.items():
            options.add_initializer(name, value)
        if is_fused(model):
            library(self._dtype, self._device, self._stream).register(options)
        return start_session(model.SerializeToString(), path, options, (provider, self._provider_options()))

    def _provider_options(self) -> dict[str, str]:
        if self._stream is None:
            return {}
        return {
            "device_id": str(self._device.index or 0),
            "user_compute_stream": str(self._stream.cuda_stream),
            "do_copy_in_default_stream": "1",
            "enable_cuda_graph": "1" if self._replayed else "0",
            "use_tf32": "0",
        }


@cache
def _stream_of(device: torch.device) -> torch.cuda.Stream:
    """One for all graphs of a device: what one leaves of the arena the next may use without waiting."""
    return torch.cuda.Stream(device)


@cache
def _share_arena(index: int) -> None:
    """One arena a GPU for all sessions of the process: only one graph runs at a time."""
    place, growth = arena("Cuda", index)
    onnxruntime.create_and_register_allocator_v2("CUDAExecutionProvider", place, {"device_id": str(index)}, growth)


def check_weights(path: Path, model: onnx.ModelProto, weights: Mapping[str, Tensor]) -> None:
    """BackendError unless `weights` are the model's external initializers, each of its shape and type."""
    wanted = {
        tensor.name: (tuple(tensor.dims), tensor.data_type)
        for tensor in model.graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
    }
    found = {name: (tuple(tensor.shape), _ONNX_TYPES.get(tensor.dtype)) for name, tensor in weights.items()}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise BackendError(
                f"{path.name}: weight {name} is not what the graph reads",
                expected=_told(wanted.get(name)),
                found=_told(found.get(name)),
            )


def _told(weight: tuple[tuple[int, ...], int | None] | None) -> str:
    if weight is None:
        return "no such weight"
    shape, kind = weight
    return f"{shape} of {onnx.TensorProto.DataType.Name(kind) if kind else 'another type'}"
