"""An engine in memory: one execution context a profile, each bound once to addresses that never change."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffes.backends.buckets import pieces
from diffes.backends.tensorrt.gpu import Gpu
from diffes.backends.tensorrt.package import Package
from diffes.backends.tensorrt.profiles import LATENTS, EngineSpec, Place, Profile, Shape
from diffes.blob import ALIGNMENT, Entry
from diffes.errors import BackendError
from diffes.manifest import Graph, TensorSpec

Addresses = Mapping[str, int]


def weight_addresses(graph: Graph, entries: Mapping[str, Entry], base: int) -> dict[str, int]:
    """Address of each weight of a graph where the blob's file lies at `base`: a prefix begins where its tensor does.

    BackendError unless `base` is aligned as the file is.
    """
    if base % ALIGNMENT:
        raise BackendError("the blob's copy is not aligned", expected=f"a multiple of {ALIGNMENT}", found=base)
    return {name: base + entries[prefix.tensor].offset for name, prefix in graph.prefixes.items()}


@dataclass(frozen=True)
class Ports:
    """A graph's inputs and outputs at fixed places, as large as its largest batch; all its contexts for images of one
    size share them.
    """

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]

    @classmethod
    def of(cls, graph: Graph, largest: Profile, device: torch.device) -> "Ports":
        """Zeros at first. Rows never meet, so what pads a batch may be whatever was there before."""
        inputs, outputs = dict(largest.shapes), dict(largest.outputs)
        return cls(
            {spec.name: _zeros(spec, inputs[spec.name], device) for spec in graph.inputs},
            {spec.name: _zeros(spec, outputs[spec.name], device) for spec in graph.outputs},
        )

    @property
    def addresses(self) -> dict[str, int]:
        """Where they lie."""
        return {name: tensor.data_ptr() for name, tensor in {**self.inputs, **self.outputs}.items()}


class LoadedEngine:
    """One deserialised engine, and for each profile a context with everything bound."""

    def __init__(self, package: Package, gpu: Gpu, spec: EngineSpec, plan: bytes) -> None:
        self._package, self._gpu, self._spec = package, gpu, spec
        self._runtime = package.module.Runtime(package.module.Logger(package.module.Logger.ERROR))
        with gpu.active():
            self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise BackendError(
                f"{package.name} {package.version} cannot load its engine of {spec.network.name}",
                expected=f"an engine that runs on {gpu.name}",
                found="an engine it refuses",
                remedy="Delete the engine from the cache, so that it is built again on this machine.",
            )
        self._contexts: dict[tuple[Place, int], Any] = {}
        self._ports: dict[Place, Ports] = {}
        self._rows: dict[Place, tuple[int, ...]] = {}

    @property
    def scratch_bytes(self) -> int:
        """What a context needs while it runs, whichever profile: all contexts take turns in one buffer."""
        return int(self._engine.device_memory_size_v2)

    def bind(self, graphs: Sequence[Graph], weights: Mapping[str, Addresses], scratch: Tensor) -> None:
        """Make the contexts. `weights` are the addresses of each graph's weights, by its file."""
        by_file = {graph.file: graph for graph in graphs}
        largest: dict[Place, Profile] = {}
        for profile in sorted(self._spec.profiles, key=lambda profile: profile.rows):
            self._rows[profile.place] = (*self._rows.get(profile.place, ()), profile.rows)
            largest[profile.place] = profile
        for place, profile in largest.items():
            self._ports[place] = Ports.of(by_file[profile.graph], profile, self._gpu.device)
        with self._gpu.active():
            for index, profile in enumerate(self._spec.profiles):
                addresses = {**self._ports[profile.place].addresses, **weights[profile.graph]}
                context = self._bound(index, profile, addresses)
                context.set_device_memory(scratch.data_ptr(), scratch.nbytes)
                self._contexts[profile.place, profile.rows] = context
            self._gpu.synchronize()

    def run(self, graph: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Outputs [rows, ...] in float32 on the GPU, for inputs of any dtype, place and number of rows.

        BackendError for latents of a size that there is no profile for.
        """
        place = self._place(graph, inputs)
        ports, rows = self._ports[place], len(next(iter(inputs.values())))
        parts: dict[str, list[Tensor]] = {name: [] for name in ports.outputs}
        with self._gpu.active():
            for start, end, size in pieces(rows, self._rows[place]):
                count = end - start
                for name, port in ports.inputs.items():
                    port[:count].copy_(inputs[name][start:end])  # converts on the way
                if not self._contexts[place, size].execute_async_v3(self._gpu.stream()):
                    raise BackendError(f"{self._package.name} failed in {graph}", found=f"{size} rows not executed")
                for name, port in ports.outputs.items():
                    # a copy: the next call writes the same place
                    parts[name].append(port[:count].to(torch.float32, copy=True))
        return {name: outputs[0] if len(outputs) == 1 else torch.cat(outputs) for name, outputs in parts.items()}

    def _place(self, graph: str, inputs: Mapping[str, Tensor]) -> Place:
        if (graph, ()) in self._ports:
            return graph, ()
        place = graph, tuple(inputs[LATENTS].shape[2:])
        if place not in self._ports:
            known = [sides for file, sides in self._ports if file == graph]
            raise BackendError(f"{graph} has no profile for these latents", expected=f"one of {known}", found=place[1])
        return place

    def _bound(self, index: int, profile: Profile, addresses: Addresses) -> Any:
        """A context of profile `index` with the profile's shapes and every tensor's address."""
        context = self._package.new_context(self._engine)
        done = context is not None and context.set_optimization_profile_async(index, self._gpu.stream())
        done = done and all(context.set_input_shape(name, shape) for name, shape in profile.shapes)
        done = done and all(context.set_tensor_address(name, address) for name, address in addresses.items())
        if not done:
            raise BackendError(
                f"{self._package.name} {self._package.version} cannot run {profile.graph} at {profile.rows} rows",
                expected=f"profile {index} of {len(self._spec.profiles)} of {self._spec.network.name}",
                found="a context it refuses to make or to bind",
            )
        return context


def _zeros(spec: TensorSpec, shape: Shape, device: torch.device) -> Tensor:
    dtype: torch.dtype = getattr(torch, spec.dtype)
    return torch.zeros(shape, dtype=dtype, device=device)
