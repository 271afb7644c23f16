"""A stand-in for TensorRT's runtime on a machine without its GPUs, as strict as the real one about what is bound.

Its serialised engine is the network's ONNX file. A context reads its inputs from the addresses it was given, computes
with ONNX Runtime, and writes to the addresses of its outputs; so what is tested on it is everything that Diffes does
around an execution, down to the addresses.
"""

import ctypes
from contextlib import AbstractContextManager, nullcontext
from math import prod
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import torch

from diffes.backends.sessions import run_session
from diffes.backends.tensorrt.cache import EngineCache
from diffes.backends.tensorrt.gpu import Gpu
from diffes.backends.tensorrt.package import Package
from diffes.backends.tensorrt.profiles import EngineSpec
from diffes.graphs import tensor_specs

STREAM = 77
SCRATCH = 4096


class Memory(Gpu):
    """The machine's own memory in a GPU's place."""

    def stream(self) -> int:
        """A handle that contexts compare with."""
        return STREAM

    def active(self) -> AbstractContextManager[object]:
        """Nothing to make current."""
        return nullcontext()

    def synchronize(self) -> None:
        """Nothing runs beside."""


MEMORY = Memory(torch.device("cpu"), "memory", (9, 0))


class Cache(EngineCache):
    """Networks as they are."""

    def load(self, spec: EngineSpec, *_: Any) -> bytes:
        """The ONNX file."""
        return spec.network.read_bytes()


class Context:
    """One execution context; `executed` is shared by all of a package."""

    def __init__(self, engine: "Engine") -> None:
        self.engine = engine
        self.profile: int | None = None
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.scratch = (0, 0)

    def set_optimization_profile_async(self, index: int, stream: int) -> bool:
        taken = index in self.engine.profiles_taken
        self.engine.profiles_taken.add(index)
        self.profile = index
        return stream == STREAM and not taken

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = shape
        return self.profile is not None and name in self.engine.inputs

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return name in self.engine.inputs or name in self.engine.outputs

    def set_device_memory(self, address: int, size: int) -> None:
        self.scratch = (address, size)

    def execute_async_v3(self, stream: int) -> bool:
        engine = self.engine
        engine.executed.append((self.profile, self.shapes, self.scratch))
        if stream != STREAM or self.scratch[1] < SCRATCH or engine.failing:
            return False
        feeds = {}
        for name, spec in engine.inputs.items():
            shape = self.shapes.get(name, spec.shape)
            feeds[name] = torch.from_numpy(self._at(name, shape, np.dtype(spec.dtype)).copy())
        for (name, spec), value in zip(engine.outputs.items(), run_session(engine.session, feeds), strict=True):
            self._at(name, tuple(value.shape), np.dtype(spec.dtype))[...] = value.numpy()
        return True

    def _at(self, name: str, shape: tuple[int | None, ...], dtype: np.dtype[Any]) -> Any:
        """The memory at a tensor's address; a KeyError or TypeError for what was not bound."""
        count = prod(size for size in shape if size is not None)
        buffer = (ctypes.c_char * (count * dtype.itemsize)).from_address(self.addresses[name])
        return np.frombuffer(memoryview(buffer).cast("B"), dtype, count).reshape(shape)


class Engine:
    """A deserialised engine."""

    device_memory_size_v2 = SCRATCH

    def __init__(self, package: "Standin", plan: bytes) -> None:
        import onnxruntime

        model = onnx.load_from_string(plan)
        self.session = onnxruntime.InferenceSession(plan, providers=["CPUExecutionProvider"])
        self.inputs = {spec.name: spec for spec in tensor_specs(model.graph.input)}
        self.outputs = {spec.name: spec for spec in tensor_specs(model.graph.output)}
        self.profiles_taken: set[int] = set()
        self.package = package

    @property
    def executed(self) -> list[Any]:
        return self.package.executed

    @property
    def failing(self) -> bool:
        return self.package.failing

    def create_execution_context(self, strategy: str) -> Context | None:
        assert strategy == "the caller's memory"
        return Context(self)


class Standin:
    """The module `tensorrt`, as far as running goes."""

    __version__ = "0.0"
    ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="the caller's memory")

    def __init__(self) -> None:
        self.executed: list[tuple[int, dict[str, tuple[int, ...]], tuple[int, int]]] = []
        self.failing = False
        self.refusing = False

    class Logger:
        ERROR = 1

        def __init__(self, severity: int) -> None:
            self.severity = severity

    def Runtime(self, logger: Any) -> Any:  # noqa: N802, a class in the real module
        """Deserialises."""
        assert logger.severity == self.Logger.ERROR
        return SimpleNamespace(
            deserialize_cuda_engine=lambda plan: None if self.refusing else Engine(self, bytes(plan))
        )

    @property
    def package(self) -> Package:
        """As Diffes finds it."""
        return Package("tensorrt", self)
