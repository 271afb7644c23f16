"""ONNX Runtime: one session per graph, all on the blob's mapped pages."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from diffes.architectures import encoded_by
from diffes.backends.base import Conditions
from diffes.backends.buckets import in_pieces
from diffes.backends.sessions import open_session, run_session
from diffes.backends.tiles import in_tiles
from diffes.bundle import Bundle
from diffes.errors import BackendError
from diffes.prompts import Encoded, Rows


class OnnxRuntimeBackend:
    """Every session is opened at once, so that what cannot run is refused before the first request."""

    name = "onnxruntime"
    buckets: Sequence[int] = ()
    device = torch.device("cpu")

    def __init__(self, bundle: Bundle, device: str = "cpu", threads: int | None = None) -> None:
        manifest = bundle.manifest
        _require_type(manifest.dtype, device)
        self._blob = bundle.blob
        self._conditions = [output.name for output in manifest.condition.outputs]
        self._sessions: dict[str, Any] = {
            graph.file: open_session(bundle.folder / graph.file, device, threads) for graph in manifest.graphs
        }
        self._architecture = bundle.architecture
        self._encode = None if manifest.encode is None else manifest.encode.file
        self._condition = manifest.condition.file
        self._decode = manifest.decode.graph.file if manifest.decode.graph else None
        self._tile = manifest.decode.tile
        self._denoise: Mapping[str, str] = {subgraph.id: subgraph.file for subgraph in manifest.subgraphs}

    def encode(self, prompts: Rows) -> Encoded:
        """Prompts [P, ...] → what is made of them once for all steps."""
        encode = self._encode
        encoder = None if encode is None else lambda **rows: self._run(encode, rows)
        return encoded_by(self._architecture, encoder, prompts)

    def condition(self, timesteps: Tensor, features: Rows) -> dict[str, Tensor]:
        """timesteps [N] float32, features [N, ...] → each condition [N, ...]."""
        self._blob.require_unchanged()
        outputs = self._run(self._condition, {"timesteps": timesteps, **features})
        return dict(zip(self._conditions, outputs, strict=True))

    def denoise(self, subgraph: str, latents: Tensor, conditions: Conditions) -> Tensor:
        """latents [B, C, h, w], conditions [B, ...] → the model's output like latents."""
        (prediction,) = self._run(self._denoise[subgraph], {"latents": latents, **conditions})
        return prediction

    def decode(self, latents: Tensor) -> Tensor:
        """latents [B, C, h, w] → images [B, 3, H, W] in [-1, 1]."""
        if self._decode is None:
            return latents.clamp(-1, 1)
        decoder = self._decode
        return in_tiles(
            lambda tile: in_pieces(lambda part: self._run(decoder, {"latents": part})[0], tile), latents, self._tile
        )

    def close(self) -> None:
        """Free the sessions."""
        self._sessions.clear()

    def _run(self, file: str, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        if file not in self._sessions:
            raise BackendError("the backend is closed", expected="an open backend", found="closed")
        return run_session(self._sessions[file], inputs)


def _require_type(dtype: str, device: str) -> None:
    """ONNX Runtime has no bfloat16 on a CPU, and would multiply float16 as float32, on a copy of every weight."""
    if device.partition(":")[0] == "cpu" and dtype != "float32":
        raise BackendError(
            "onnxruntime on a CPU runs float32 bundles alone",
            expected="float32",
            found=dtype,
            remedy="Export with --dtype float32, or run this bundle with --backend torch.",
        )
