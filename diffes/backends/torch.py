"""PyTorch on views of the blob: the reference every other backend is compared with, and the fast path on a GPU.

On a CPU the views are of the mapped file. A GPU holds the blob as one buffer; there steps are recorded as CUDA graphs.
Those of 16-bit bundles take the fastest kernels for their shapes (diffes/kernels/), measured when they are recorded.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from diffes.backends.base import Conditions
from diffes.backends.buckets import BUCKETS, in_pieces
from diffes.backends.device_blob import DeviceBlob
from diffes.backends.recorded import RecordedSteps, fastest_recorder
from diffes.bundle import Bundle
from diffes.devices import device_named
from diffes.errors import BackendError


class TorchBackend:
    """One module per subgraph."""

    name = "torch"

    def __init__(self, bundle: Bundle, device: str = "cpu", threads: int | None = None) -> None:
        self.device = device_named(device)
        if threads is not None:
            torch.set_num_threads(threads)  # PyTorch knows one number for the whole process
        self._dtype = bundle.dtype
        self.buckets: Sequence[int] = BUCKETS if self.device.type == "cuda" else ()
        manifest, architecture = bundle.manifest, bundle.architecture
        on_gpu = self.device.type == "cuda"
        self._mapped = None if on_gpu else bundle.blob
        tensors: Mapping[str, Tensor] = DeviceBlob(bundle.blob, self.device) if on_gpu else bundle.blob
        self._names = architecture.condition_names()
        self._condition = architecture.condition(bundle.weights(manifest.condition, tensors)).to(self.device).eval()
        self._denoisers: dict[str, nn.Module] = {
            subgraph.id: architecture.denoiser(subgraph.plan, bundle.weights(subgraph, tensors)).eval()
            for subgraph in manifest.subgraphs
        }
        shapes = {"latents": architecture.latent_shape, **architecture.condition_shapes()}
        place = self.device, self._dtype
        self._steps = RecordedSteps(self._denoisers, shapes, place, fastest_recorder(self.device)) if on_gpu else None
        decode = manifest.decode
        self._decoder: nn.Module | None = None
        if decode.graph is not None and decode.config is not None:
            from diffes.decoder import LatentDecoder  # diffusers' VAE takes 100 MiB to import; pixel space needs none

            self._decoder = LatentDecoder(decode.config, bundle.weights(decode.graph, tensors))
        self._closed = False

    @torch.inference_mode()
    def condition(self, timesteps: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """timesteps [N] float32, labels [N] int64 → each condition [N, ...] on the device."""
        self._require_open()
        if self._mapped is not None:
            self._mapped.require_unchanged()
        outputs = self._condition(timesteps.to(self.device), labels.to(self.device))
        return dict(zip(self._names, outputs, strict=True))

    @torch.inference_mode()
    def denoise(self, subgraph: str, latents: Tensor, conditions: Conditions) -> Tensor:
        """latents [B, C, h, w], conditions [B, ...] → the model's output like latents."""
        self._require_open()
        if self._steps is not None:
            return self._steps(subgraph, {"latents": latents, **conditions})
        inputs = {name: self._placed(value) for name, value in conditions.items()}
        prediction: Tensor = self._denoisers[subgraph](self._placed(latents), **inputs)
        return prediction.float()

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """latents [B, C, h, w] → images [B, 3, H, W] in [-1, 1]."""
        self._require_open()
        if self._decoder is None:
            return latents.clamp(-1, 1)
        return in_pieces(self._decoder, self._placed(latents)).float()

    def close(self) -> None:
        """Free modules and tensors."""
        self._closed = True
        self._denoisers.clear()
        self._steps = None
        self._condition, self._decoder = nn.Identity(), None

    def _placed(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, self._dtype)

    def _require_open(self) -> None:
        if self._closed:
            raise BackendError("the backend is closed", expected="an open backend", found="closed")
