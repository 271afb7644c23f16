"""ONNX Runtime on a GPU: every graph on one buffer of weights, steps replayed as CUDA graphs by bucket."""

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

from diffes.architectures import encoded_by
from diffes.backends.base import Conditions
from diffes.backends.bound import BoundGraph
from diffes.backends.buckets import in_pieces
from diffes.backends.calls import RecordedCalls, step_inputs
from diffes.backends.device_blob import DeviceBlob
from diffes.backends.recorder import Run
from diffes.backends.tiles import in_tiles
from diffes.bundle import Bundle
from diffes.devices import device_named
from diffes.errors import BackendError
from diffes.manifest import Graph
from diffes.prompts import Encoded, Rows, on_device
from diffes.pruning.prefix import Prefix

T = TypeVar("T")


class OnnxRuntimeCudaBackend:
    """Every session is opened at once, so that what cannot run is refused before the first request."""

    name = "onnxruntime"
    buckets: Sequence[int] = ()

    def __init__(self, bundle: Bundle, device: str) -> None:
        self.device = device_named(device)
        self._dtype, self._decoded = bundle.dtype, bundle.decoded_dtype
        self._blob = DeviceBlob(bundle.blob, self.device)
        manifest, architecture = bundle.manifest, bundle.architecture
        self._conditions = [output.name for output in manifest.condition.outputs]
        self._architecture = architecture
        self._encode = None if manifest.encode is None else self._bound(bundle, manifest.encode)
        self._condition: BoundGraph | None = self._bound(bundle, manifest.condition)
        graph = manifest.decode.graph
        grown = bundle.image_size.height // architecture.latent_shape[1]
        self._decode = None if graph is None else self._bound(bundle, graph, grown=grown)
        self._tile = manifest.decode.tile
        denoisers = {subgraph.id: self._bound(bundle, subgraph, replayed=True) for subgraph in manifest.subgraphs}
        shapes = {"latents": architecture.latent_shape, **architecture.condition_shapes()}
        inputs = step_inputs(shapes, self._dtype)
        self._steps: RecordedCalls[str] | None = RecordedCalls(denoisers, inputs, self.device, _warmed)

    def encode(self, prompts: Rows) -> Encoded:
        """Prompts [P, ...] → what is made of them once for all steps, on the device."""
        _opened(self._condition)
        return encoded_by(self._architecture, self._encode, on_device(prompts, self.device))

    def condition(self, timesteps: Tensor, features: Rows) -> dict[str, Tensor]:
        """timesteps [N] float32, features [N, ...] → each condition [N, ...] on the device."""
        run = _opened(self._condition)
        outputs = run(timesteps=timesteps.to(self.device), **on_device(features, self.device))
        return dict(zip(self._conditions, outputs, strict=True))

    def denoise(self, subgraph: str, latents: Tensor, conditions: Conditions) -> Tensor:
        """latents [B, C, h, w], conditions [B, ...] → the model's output like latents, on the device."""
        steps = _opened(self._steps)
        return steps(subgraph, {"latents": latents, **conditions})[0]

    def decode(self, latents: Tensor) -> Tensor:
        """latents [B, C, h, w] → images [B, 3, H, W] in [-1, 1] on the device."""
        _opened(self._condition)
        if self._decode is None:
            return latents.clamp(-1, 1)
        decoder = self._decode
        placed = latents.to(self.device, self._decoded)

        def decoded(tile: Tensor) -> Tensor:
            return in_pieces(lambda part: decoder(latents=part)[0], tile.contiguous()).float()

        return in_tiles(decoded, placed, self._tile)

    def close(self) -> None:
        """Free sessions and memory."""
        self._encode = self._condition = self._decode = self._steps = None
        self._blob.buffer = torch.empty(0, dtype=torch.uint8)

    def _bound(self, bundle: Bundle, graph: Graph, *, replayed: bool = False, grown: int = 1) -> BoundGraph:
        named = {name: Prefix(spec.tensor, spec.rows).of(self._blob) for name, spec in graph.prefixes.items()}
        return BoundGraph(bundle.folder / graph.file, graph.outputs, named, self.device, replayed=replayed, grown=grown)


def _opened(what: T | None) -> T:
    if what is None:
        raise BackendError("the backend is closed", expected="an open backend", found="closed")
    return what


def _warmed(run: Run) -> Run:
    """ONNX Runtime captures by itself, in the third run of a row count: the first two plan its memory."""
    for _ in range(3):
        run()
    return run
