"""Triton: subgraphs run in a tritonserver that hosts the same bundle, on this host or another."""

import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffes.architectures import encoded_by
from diffes.backends.base import Conditions
from diffes.backends.remote import protocol
from diffes.backends.remote.address import Address
from diffes.bundle import Bundle
from diffes.components import stride_of
from diffes.errors import BackendError
from diffes.files import sha256_of
from diffes.manifest import MANIFEST, TensorSpec
from diffes.prompts import Encoded, Rows

if TYPE_CHECKING:
    from diffes.backends.remote.connection import Connection

Shape = tuple[int, ...]


class TritonBackend:
    """A client of one model. The local bundle says what to ask; the server must hold the very same one.

    Backend, device and threads are the server's, by its config.pbtxt.
    """

    name = "triton"
    buckets: Sequence[int] = ()  # the server's own, if it has any
    device = torch.device("cpu")

    def __init__(self, bundle: Bundle, device: str, threads: int | None = None) -> None:
        """`device` is an address as `Address.parse` reads it; BackendError if nothing there can serve this bundle."""
        address = Address.parse(device)
        if threads is not None:
            raise BackendError(
                "triton's threads are its server's",
                expected="no number of threads",
                found=threads,
                remedy="Set the parameter threads in the model's config.pbtxt.",
            )
        manifest = bundle.manifest
        self._manifest = sha256_of(bundle.folder / MANIFEST)
        self._architecture = bundle.architecture
        self._encodings = None if manifest.encode is None else _shapes(manifest.encode.outputs)
        self._conditions = _shapes(manifest.condition.outputs)
        self._predictions = {graph.id: graph.outputs for graph in manifest.subgraphs}
        self._images = manifest.decode.graph.outputs if manifest.decode.graph else None
        self._stride = stride_of(manifest.decode.config)
        self._connection = _connection(address)
        self._hang_up = weakref.finalize(self, self._connection.close)  # at the latest when the process ends
        self.server = self._connection.describe()
        if self.server.bundle != self._manifest:
            raise BackendError(
                f"{self._connection.server} hosts another bundle",
                expected=f"manifest {self._manifest}",
                found=f"manifest {self.server.bundle}",
                remedy=f"Open the bundle that lies in its repository, or export {bundle.folder} to it.",
            )
        self._connection.share_memory()

    @property
    def uses_shared_memory(self) -> bool:
        """Whether tensors go through this host's shared memory instead of gRPC."""
        return self._connection.uses_shared_memory

    def encode(self, prompts: Rows) -> Encoded:
        """Prompts [P, ...] → what is made of them once for all steps."""
        shapes = self._encodings
        encoder = None if shapes is None else lambda **rows: [*self._call(protocol.ENCODE, rows, shapes).values()]
        return encoded_by(self._architecture, encoder, prompts)

    def condition(self, timesteps: Tensor, features: Rows) -> dict[str, Tensor]:
        """timesteps [N] float32, features [N, ...] → each condition [N, ...]."""
        return self._call(protocol.CONDITION, {"timesteps": timesteps, **features}, self._conditions)

    def denoise(self, subgraph: str, latents: Tensor, conditions: Conditions) -> Tensor:
        """latents [B, C, h, w], conditions [B, ...] → the model's output like latents."""
        outputs = _shapes(self._predictions[subgraph], latents.shape[2:])
        return self._call(protocol.DENOISE, {"latents": latents, **conditions}, outputs, subgraph)[protocol.PREDICTION]

    def decode(self, latents: Tensor) -> Tensor:
        """latents [B, C, h, w] → images [B, 3, H, W] in [-1, 1]. In pixel space nothing needs a server."""
        if self._images is None:
            return latents.clamp(-1, 1)
        outputs = _shapes(self._images, [side * self._stride for side in latents.shape[2:]])
        return self._call(protocol.DECODE, {"latents": latents}, outputs)[protocol.IMAGES]

    def close(self) -> None:
        """Give shared memory back and hang up; the server goes on."""
        self._hang_up()

    def _call(
        self,
        operation: str,
        inputs: Mapping[str, Tensor],
        outputs: Mapping[str, Shape],
        subgraph: str | None = None,
    ) -> dict[str, Tensor]:
        """One call for as many rows as the server takes at once."""
        if not self._hang_up.alive:
            raise BackendError("the backend is closed", expected="an open backend", found="closed")
        texts = {protocol.OPERATION: operation, protocol.BUNDLE: self._manifest}
        if subgraph is not None:
            texts[protocol.SUBGRAPH] = subgraph
        answers = []
        for part in zip(*(tensor.split(self.server.max_rows) for tensor in inputs.values()), strict=True):
            shapes = {name: (len(part[0]), *shape) for name, shape in outputs.items()}
            answers.append(self._connection.call(texts, dict(zip(inputs, part, strict=True)), shapes))
        return {name: torch.cat([answer[name] for answer in answers]) for name in outputs}


def _shapes(specs: tuple[TensorSpec, ...], sides: Sequence[int] = ()) -> dict[str, Shape]:
    """Shapes of one row, by name; `sides` are those that are free."""
    shapes = {}
    for spec in specs:
        free = [axis for axis, size in enumerate(spec.shape) if size is None and axis > 0]
        if len(free) not in (0, len(sides)):
            raise BackendError(f"output {spec.name} has no fixed shape", expected="free rows only", found=spec.shape)
        filled = iter(sides)
        shapes[spec.name] = tuple(next(filled) if size is None else size for size in spec.shape[1:])
    return shapes


def _connection(address: Address) -> "Connection":
    """BackendError if Triton's client is not installed."""
    try:
        from diffes.backends.remote.connection import Connection
    except (ModuleNotFoundError, RuntimeError) as error:  # tritonclient without gRPC raises the latter
        if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith(("tritonclient", "grpc")):
            raise
        raise BackendError(
            "the triton backend needs Triton's client",
            expected="the package tritonclient with gRPC",
            found=str(error),
            remedy="pip install 'diffes[triton]'",
        ) from error
    return Connection(address)
