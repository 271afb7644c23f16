"""PyTorch on views of the blob: the reference every other backend is compared with, and the fast path on a GPU.

On a CPU the views are of the mapped file. A GPU holds the blob as one buffer; there all calls are replayed as CUDA
graphs. Those of 16-bit bundles take the fastest kernels for their shapes (diffes/kernels/), measured when they are
recorded.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from diffes.architectures import encoded_by
from diffes.backends.base import Conditions
from diffes.backends.buckets import BUCKETS, CONDITION_BUCKETS, DECODE_BUCKETS, in_pieces
from diffes.backends.calls import Calls, PlainCalls, RecordedCalls, alone, step_inputs
from diffes.backends.device_blob import DeviceBlob
from diffes.backends.recorder import Recorder, fastest_recorder
from diffes.backends.tiles import in_tiles
from diffes.bundle import Bundle
from diffes.devices import device_named
from diffes.errors import BackendError
from diffes.prompts import Encoded, Rows, RowSpec

_ONLY = "only"  # key of a kind that has one graph


class TorchBackend:
    """One module per subgraph."""

    name = "torch"

    def __init__(self, bundle: Bundle, device: str = "cpu", threads: int | None = None) -> None:
        self.device = device_named(device)
        if threads is not None:
            torch.set_num_threads(threads)  # PyTorch knows one number for the whole process
        on_gpu = self.device.type == "cuda"
        self.buckets: Sequence[int] = BUCKETS if on_gpu else ()
        self._mapped = None if on_gpu else bundle.blob
        tensors: Mapping[str, Tensor] = DeviceBlob(bundle.blob, self.device, turned=True) if on_gpu else bundle.blob
        self._architecture = bundle.architecture
        self._names = bundle.architecture.condition_names()
        recorder = fastest_recorder(self.device) if on_gpu else None
        self._encode: Calls[str] | None = _encode_calls(bundle, tensors, self.device, recorder)
        self._condition: Calls[str] | None = _condition_calls(bundle, tensors, self.device, recorder)
        self._steps: Calls[str] | None = _step_calls(bundle, tensors, self.device, recorder)
        # a recorder of its own: it runs beside the steps, and may not share their memory
        self._tile = bundle.manifest.decode.tile
        self._decode = _decode_calls(bundle, tensors, self.device, fastest_recorder(self.device) if on_gpu else None)

    @torch.inference_mode()
    def encode(self, prompts: Rows) -> Encoded:
        """Prompts [P, ...] → what is made of them once for all steps, on the device."""
        _opened(self._condition)
        encode = self._encode
        encoder = None if encode is None else lambda **rows: encode(_ONLY, rows)
        return encoded_by(self._architecture, encoder, prompts)

    @torch.inference_mode()
    def condition(self, timesteps: Tensor, features: Rows) -> dict[str, Tensor]:
        """timesteps [N] float32, features [N, ...] → each condition [N, ...] on the device."""
        condition = _opened(self._condition)
        if self._mapped is not None:
            self._mapped.require_unchanged()
        outputs = condition(_ONLY, {"timesteps": timesteps, **features})
        return dict(zip(self._names, outputs, strict=True))

    @torch.inference_mode()
    def denoise(self, subgraph: str, latents: Tensor, conditions: Conditions) -> Tensor:
        """latents [B, C, h, w], conditions [B, ...] → the model's output like latents."""
        return _opened(self._steps)(subgraph, {"latents": latents, **conditions})[0]

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """latents [B, C, h, w] → images [B, 3, H, W] in [-1, 1]."""
        _opened(self._condition)
        if self._decode is None:
            return latents.clamp(-1, 1)
        decode = self._decode
        return in_tiles(lambda part: decode(_ONLY, {"latents": part})[0], latents, self._tile)

    def close(self) -> None:
        """Free modules and tensors."""
        self._encode = self._condition = self._steps = self._decode = None


def _encode_calls(
    bundle: Bundle, tensors: Mapping[str, Tensor], device: torch.device, recorder: Recorder | None
) -> Calls[str] | None:
    graph = bundle.manifest.encode
    encoder = None if graph is None else bundle.architecture.encoder(bundle.weights(graph, tensors))
    if encoder is None:
        return None
    return _once(encoder, bundle.architecture.prompt_inputs(), device, recorder)


def _condition_calls(
    bundle: Bundle, tensors: Mapping[str, Tensor], device: torch.device, recorder: Recorder | None
) -> Calls[str]:
    condition = bundle.architecture.condition(bundle.weights(bundle.manifest.condition, tensors))
    return _once(condition, {"timesteps": RowSpec(torch.float32), **bundle.architecture.features()}, device, recorder)


def _once(
    module: nn.Module, inputs: Mapping[str, RowSpec], device: torch.device, recorder: Recorder | None
) -> Calls[str]:
    """Of what runs once a request, in its own types."""
    calls = {_ONLY: module.to(device).eval()}
    if recorder is None:
        return PlainCalls(calls, inputs, device, dtype=None)
    return RecordedCalls(calls, inputs, device, recorder, buckets=CONDITION_BUCKETS, dtype=None)


def _step_calls(
    bundle: Bundle, tensors: Mapping[str, Tensor], device: torch.device, recorder: Recorder | None
) -> Calls[str]:
    architecture = bundle.architecture
    calls = {
        subgraph.id: alone(architecture.denoiser(subgraph.plan, bundle.weights(subgraph, tensors)).eval())
        for subgraph in bundle.manifest.subgraphs
    }
    shapes = {"latents": architecture.latent_shape, **architecture.condition_shapes()}
    inputs = step_inputs(shapes, bundle.dtype)
    if recorder is None:
        return PlainCalls(calls, inputs, device)
    return RecordedCalls(calls, inputs, device, recorder)


def _decode_calls(
    bundle: Bundle, tensors: Mapping[str, Tensor], device: torch.device, recorder: Recorder | None
) -> Calls[str] | None:
    graph, config = bundle.manifest.decode.graph, bundle.manifest.decode.config
    if graph is None or config is None:
        return None
    from diffes.decoder import LatentDecoder  # diffusers' VAE takes 100 MiB to import; pixel space needs none

    decoder = LatentDecoder(config, bundle.weights(graph, tensors))
    inputs = {"latents": RowSpec(bundle.decoded_dtype, bundle.architecture.latent_shape)}
    if recorder is None:
        return PlainCalls({_ONLY: alone(partial(in_pieces, decoder))}, inputs, device)
    return RecordedCalls({_ONLY: alone(decoder)}, inputs, device, recorder, buckets=DECODE_BUCKETS)


def _opened(calls: Calls[str] | None) -> Calls[str]:
    if calls is None:
        raise BackendError("the backend is closed", expected="an open backend", found="closed")
    return calls
