"""Which tensors a bundle stores: what its graphs read, each once."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from diffes.blob import Blob
from diffes.errors import BundleError
from diffes.manifest import PrefixSpec
from diffes.pruning.prefix import Prefix


@dataclass
class Weights:
    """Tensors for one blob in `dtype`, gathered graph by graph; equal tensors are stored once, under the first name."""

    dtype: torch.dtype
    tensors: dict[str, Tensor] = field(default_factory=dict)
    _stored_as: dict[str, str] = field(default_factory=dict)
    _digests: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, tensor: Tensor, dtype: torch.dtype | None = None) -> str:
        """Store a tensor, if no equal one is, and say under which name it is stored."""
        if name not in self._stored_as:
            tensor = tensor.detach().to("cpu", dtype or self.dtype).contiguous()
            digest = _digest(tensor)
            self._stored_as[name] = self._digests.setdefault(digest, name)
            if self._stored_as[name] == name:
                self.tensors[name] = tensor
        return self._stored_as[name]

    def add_prefixes(
        self, prefixes: Mapping[str, Prefix], source: Mapping[str, Tensor], dtype: torch.dtype | None = None
    ) -> dict[str, PrefixSpec]:
        """Store the tensors that prefixes are of, in `dtype` if it is given; the prefixes in the manifest's words."""
        return {
            name: PrefixSpec(tensor=self.add(prefix.tensor, source[prefix.tensor], dtype), rows=prefix.rows)
            for name, prefix in prefixes.items()
        }

    def move_into(self, blob: Blob) -> dict[str, Tensor]:
        """Hold the mapped file's bytes in place of memory, and give every tensor so by the name it was added under.

        BundleError if what the file holds is not what was written.
        """
        for name, tensor in self.tensors.items():
            stored = blob[name]
            if not torch.equal(_bytes(stored), _bytes(tensor)):
                raise BundleError(
                    f"{blob.path} does not hold what was written to it",
                    expected=f"the bytes of {name}",
                    found="others",
                    remedy="Check the disk, and export again.",
                )
            self.tensors[name] = stored
        return {name: self.tensors[stored_as] for name, stored_as in self._stored_as.items()}

    def bytes_of(self, prefixes: Mapping[str, PrefixSpec]) -> int:
        """What the prefixes take together, each stored range counted once."""
        rows: dict[str, int] = {}
        for spec in prefixes.values():
            whole = len(self.tensors[spec.tensor])
            rows[spec.tensor] = max(rows.get(spec.tensor, 0), whole if spec.rows is None else spec.rows)
        return sum(self.tensors[name][:count].nbytes for name, count in rows.items())


def _digest(tensor: Tensor) -> str:
    digest = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    digest.update(_bytes(tensor).numpy().data)
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.flatten().view(torch.uint8)
