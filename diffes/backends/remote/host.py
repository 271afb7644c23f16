"""The server's side: named operations on tensors, answered by a backend over one bundle. Knows nothing of Triton."""

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from torch import Tensor

import diffes
from diffes.backends import open_backend
from diffes.backends.base import Backend
from diffes.backends.remote import protocol
from diffes.bundle import Bundle
from diffes.errors import BackendError
from diffes.files import sha256_of
from diffes.manifest import MANIFEST


class Host:
    """One bundle on one backend. A call that fails leaves it as it was."""

    def __init__(self, bundle: Bundle, backend: Backend, device: str, max_rows: int) -> None:
        self._backend = backend
        self._subgraphs = {subgraph.id for subgraph in bundle.manifest.subgraphs}
        self._prompts = tuple(bundle.architecture.prompt_inputs())
        self._conditions = tuple(bundle.architecture.condition_shapes())
        self._features = tuple(bundle.architecture.features())
        self._description = protocol.Description(
            protocol=protocol.PROTOCOL,
            bundle=sha256_of(bundle.folder / MANIFEST),
            backend=backend.name,
            device=device,
            max_rows=max_rows,
            diffes=diffes.__version__,
        )
        self._operations = {
            protocol.ENCODE: self._encode,
            protocol.CONDITION: self._condition,
            protocol.DENOISE: self._denoise,
            protocol.DECODE: self._decode,
        }

    @classmethod
    def open(cls, folder: Path, settings: Mapping[str, str]) -> Self:
        """Verify the bundle in `folder` and load it as `settings` say: backend, device, threads, max_rows."""
        bundle = Bundle.open(folder)
        threads = _number(settings, "threads") if settings.get("threads") else None
        max_rows = _number(settings, "max_rows")
        backend = open_backend(settings["backend"], bundle, settings["device"], threads)
        return cls(bundle, backend, settings["device"], max_rows)

    def answer(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Outputs of one call, float32, contiguous on CPU. `inputs`: texts as bytes, tensors of equal rows.

        BackendError for an unknown operation or subgraph, another bundle, a missing input, and too many rows.
        """
        texts = {name: protocol.decode(inputs[name]) for name in protocol.TEXTS if name in inputs}
        tensors = {name: tensor for name, tensor in inputs.items() if name not in texts}
        self._check_bundle(texts.get(protocol.BUNDLE))
        operation = texts.get(protocol.OPERATION)
        if operation == protocol.DESCRIBE:
            return {protocol.DESCRIPTION: protocol.encode(self._description.model_dump_json())}
        if operation not in self._operations:
            raise BackendError(
                "unknown operation", expected=f"one of {', '.join(protocol.OPERATIONS)}", found=operation or "none"
            )
        self._check_rows(tensors)
        outputs = self._operations[operation](texts, tensors)
        return {name: tensor.detach().float().cpu().contiguous() for name, tensor in outputs.items()}

    def close(self) -> None:
        """Free the backend."""
        self._backend.close()

    def _encode(self, _texts: Mapping[str, str], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        rows = _taken(tensors, *self._prompts)
        encoded = self._backend.encode(dict(zip(self._prompts, rows, strict=True)))
        return {**encoded.features, **encoded.constants}

    def _condition(self, _texts: Mapping[str, str], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        timesteps, *features = _taken(tensors, "timesteps", *self._features)
        return self._backend.condition(timesteps, dict(zip(self._features, features, strict=True)))

    def _denoise(self, texts: Mapping[str, str], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        subgraph = texts.get(protocol.SUBGRAPH)
        if subgraph not in self._subgraphs:
            raise BackendError(
                "unknown subgraph", expected=f"one of {', '.join(sorted(self._subgraphs))}", found=subgraph or "none"
            )
        latents, *conditions = _taken(tensors, "latents", *self._conditions)
        named = dict(zip(self._conditions, conditions, strict=True))
        return {protocol.PREDICTION: self._backend.denoise(subgraph, latents, named)}

    def _decode(self, _texts: Mapping[str, str], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {protocol.IMAGES: self._backend.decode(*_taken(tensors, "latents"))}

    def _check_bundle(self, expected: str | None) -> None:
        if expected is not None and expected != self._description.bundle:
            raise BackendError(
                "the server runs another bundle than its client",
                expected=f"manifest {expected}",
                found=f"manifest {self._description.bundle}",
                remedy="Give both the same bundle.",
            )

    def _check_rows(self, tensors: Mapping[str, Tensor]) -> None:
        rows = {len(tensor) for tensor in tensors.values()}
        if len(rows) != 1 or max(rows) > self._description.max_rows:
            raise BackendError(
                "a call is one batch",
                expected=f"at most {self._description.max_rows} rows, as many in every input",
                found=", ".join(f"{name}: {len(tensor)}" for name, tensor in tensors.items()) or "no tensor",
            )


def _taken(tensors: Mapping[str, Tensor], *names: str) -> list[Tensor]:
    missing = [name for name in names if name not in tensors]
    if missing:
        raise BackendError("an input is missing", expected=", ".join(names), found=", ".join(tensors) or "none")
    return [tensors[name] for name in names]


def _number(settings: Mapping[str, str], name: str) -> int:
    text = settings.get(name, "")
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise BackendError(f"parameter {name} is wrong", expected="a whole number above 0", found=repr(text))
    return int(text)
