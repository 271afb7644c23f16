"""The `tensorrt` backend: engines without weights over one copy of the blob on the GPU.

Execution has not been run by its authors: no GPU was at hand that TensorRT-RTX runs on, nor the package for those
that were (docs/tensorrt.md). Everything up to it is tested: networks against torch, engines as they are built, and
this module on a stand-in for the runtime that computes with ONNX Runtime on the same addresses.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from diffes.architectures import encoded_by, encoder_outputs
from diffes.backends.base import Conditions
from diffes.backends.device_blob import DeviceBlob
from diffes.backends.tensorrt.build import Progress
from diffes.backends.tensorrt.cache import EngineCache
from diffes.backends.tensorrt.engine import LoadedEngine, weight_addresses
from diffes.backends.tensorrt.gpu import open_gpu, require_supported, target_of
from diffes.backends.tensorrt.package import find_package
from diffes.backends.tensorrt.profiles import batches_from, engine_specs
from diffes.bundle import Bundle
from diffes.errors import BackendError
from diffes.prompts import Encoded, Rows


class TensorRTBackend:
    """Every engine is loaded, or built, and every profile bound before the first request.

    BackendError without the package, without a GPU that its engines run on, or if an engine cannot be built.
    `batches` are the numbers of rows that engines are built for (None: as profiles.py says).
    """

    name = "tensorrt"

    def __init__(
        self,
        bundle: Bundle,
        device: str = "cuda",
        *,
        batches: tuple[int, ...] | None = None,
        progress: Progress = lambda _phase, _share: None,
    ) -> None:
        gpu = open_gpu(device)
        self.device = gpu.device
        self._scratch: list[Tensor] = []
        package = find_package()
        require_supported(gpu, package)
        cache = EngineCache.default(package, target_of(package, gpu))
        manifest, entries = bundle.manifest, bundle.blob.entries
        self._blob: DeviceBlob | None = DeviceBlob(bundle.blob, gpu.device)
        addresses = {graph.file: weight_addresses(graph, entries, self._blob.base) for graph in manifest.graphs}
        graphs = {graph.file: graph for graph in manifest.graphs}
        self.buckets: Sequence[int] = batches_from(None) if batches is None else batches
        specs = engine_specs(bundle, tuple(self.buckets))
        engines = [LoadedEngine(package, gpu, spec, cache.load(spec, progress)) for spec in specs]
        self._architecture = bundle.architecture
        self._encode = None if manifest.encode is None else manifest.encode.file
        self._condition = manifest.condition.file
        self._conditions = [spec.name for spec in manifest.condition.outputs]
        self._decode = manifest.decode.graph.file if manifest.decode.graph else None
        self._engines: dict[str, LoadedEngine] = {}
        # one scratch buffer for all that take turns, and one for the decoder, which runs beside them
        for beside in (False, True):
            sharing = [pair for pair in zip(specs, engines, strict=True) if (self._decode in pair[0].graphs) is beside]
            largest = max((engine.scratch_bytes for _, engine in sharing), default=0)
            scratch = torch.empty(max(largest, 1), dtype=torch.uint8, device=gpu.device)
            self._scratch.append(scratch)
            for spec, engine in sharing:
                engine.bind([graphs[file] for file in spec.graphs], addresses, scratch)
                self._engines.update(dict.fromkeys(spec.graphs, engine))
        self._denoise = {subgraph.id: subgraph.file for subgraph in manifest.subgraphs}

    @torch.inference_mode()
    def encode(self, prompts: Rows) -> Encoded:
        """Prompts [P, ...] → what is made of them once for all steps, on the GPU."""
        encode, names = self._encode, encoder_outputs(self._architecture)
        encoder = None if encode is None else lambda **rows: [self._run(encode, rows)[name] for name in names]
        return encoded_by(self._architecture, encoder, prompts)

    @torch.inference_mode()
    def condition(self, timesteps: Tensor, features: Rows) -> dict[str, Tensor]:
        """timesteps [N] float32, features [N, ...] → each condition [N, ...] on the GPU."""
        outputs = self._run(self._condition, {"timesteps": timesteps, **features})
        return {name: outputs[name] for name in self._conditions}

    @torch.inference_mode()
    def denoise(self, subgraph: str, latents: Tensor, conditions: Conditions) -> Tensor:
        """latents [B, C, h, w], conditions [B, ...] → the model's output like latents."""
        (prediction,) = self._run(self._denoise[subgraph], {"latents": latents, **conditions}).values()
        return prediction

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """latents [B, C, h, w] → images [B, 3, H, W] in [-1, 1]."""
        if self._decode is None:
            return latents.clamp(-1, 1)
        (images,) = self._run(self._decode, {"latents": latents}).values()
        return images

    def close(self) -> None:
        """Free engines, the blob's copy and the scratch memory."""
        self._engines.clear()
        self._blob = None
        self._scratch.clear()

    def _run(self, file: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if file not in self._engines:
            raise BackendError("the backend is closed", expected="an open backend", found="closed")
        return self._engines[file].run(file, inputs)
