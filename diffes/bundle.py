"""A bundle: the exported folder a service runs on. Manifest, one blob, subgraphs beside it.

Opening a bundle verifies every hash, shape and range before anything is served (owner: export writes it, backends
read it).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from diffes.architectures import Architecture, architecture_for
from diffes.blob import Blob
from diffes.schedule import ModelIdentity, Schedule, StagePlan

MANIFEST = "manifest.json"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class TensorSpec(_Record):
    """Name, dtype and shape of a graph's input or output; the leading axis is free (None)."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


class Graph(_Record):
    """One ONNX file beside the blob."""

    file: str
    sha256: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class PrefixSpec(_Record):
    """Rows of a blob tensor that a graph's initializer reads (None: all)."""

    tensor: str
    rows: int | None


class StageReference(_Record):
    """A stage of a schedule by position, noisy to clean."""

    schedule: str
    stage: int


class Subgraph(Graph):
    """The denoiser of one stage plan."""

    id: str
    plan: StagePlan
    prefixes: dict[str, PrefixSpec]  # initializer name -> what it is of the blob
    stages: tuple[StageReference, ...]


class BlobRecord(_Record):
    """The blob file; dense_bytes is what the dense model's step and condition weights take alone."""

    file: str
    sha256: str
    bytes: int
    dense_bytes: int


class Decode(_Record):
    """How latents become images: as they are (pixel space) or through the VAE's graph."""

    kind: Literal["pixels", "vae"]
    graph: Graph | None = None


class Manifest(_Record):
    """`manifest.json`."""

    format: Literal[1] = 1
    model: ModelIdentity
    config: dict[str, JsonValue]
    scheduler: dict[str, JsonValue]
    labels: tuple[str, ...]
    dtype: Literal["float32", "float16", "bfloat16"]
    default: str
    schedules: dict[str, Schedule]
    subgraphs: tuple[Subgraph, ...]
    condition: Graph
    condition_prefixes: dict[str, PrefixSpec]
    decode: Decode
    blob: BlobRecord
    created_with: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True)
class Bundle:
    """An opened, verified bundle."""

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: Path) -> "Bundle":
        """Read and verify; BundleError names what was expected and found."""
        document: Any = json.loads((folder / MANIFEST).read_text())
        return cls(folder, Manifest.model_validate(document))

    @cached_property
    def architecture(self) -> Architecture:
        """The denoiser's family, from the manifest's config."""
        return architecture_for(self.manifest.model.class_name, self.manifest.config)

    @cached_property
    def blob(self) -> Blob:
        """The mapped blob."""
        return Blob(self.folder / self.manifest.blob.file)

    @cached_property
    def subgraph_of(self) -> Mapping[StagePlan, str]:
        """Subgraph id of each stage plan, as the router wants it."""
        return {subgraph.plan: subgraph.id for subgraph in self.manifest.subgraphs}
