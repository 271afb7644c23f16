"""`manifest.json`: what a bundle holds, which files, and which bytes of the blob each graph reads."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, get_args

import torch
from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from diffes.documents import validated
from diffes.errors import BundleError, InvalidInput
from diffes.schedule import ModelIdentity, Schedule, StagePlan
from diffes.sizes import Size

MANIFEST = "manifest.json"
FORMAT: Final = 2  # 1 knew no networks; bundles of it are still read
READABLE = (1, 2)
WEIGHTS = "weights."  # what modules, and so graphs, put before an architecture's tensor names

DtypeName = Literal["float32", "float16", "bfloat16"]
DTYPES: dict[str, torch.dtype] = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]  # beside the manifest, nowhere else
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def dtype_named(text: str) -> DtypeName:
    """The name of a type a bundle can hold; InvalidInput for any other."""
    for name in get_args(DtypeName):
        if name == text:
            found: DtypeName = name
            return found
    raise InvalidInput("dtype", expected=f"one of {', '.join(DTYPES)}", found=text)


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class TensorSpec(_Record):
    """Name, dtype and shape of a graph's input or output; a free axis is None."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


class PrefixSpec(_Record):
    """The first `rows` rows of a blob tensor (None: all of it)."""

    tensor: str
    rows: int | None = Field(default=None, gt=0)


class Graph(_Record):
    """One ONNX file beside the blob; `prefixes` says which bytes of the blob each of its initializers is."""

    file: FileName
    sha256: Sha256
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    prefixes: dict[str, PrefixSpec]
    network: FileName | None = None  # the same function with its weights as inputs


class Network(_Record):
    """One ONNX file whose weights are inputs, free where levels differ: what TensorRT builds one engine from.

    Graphs of equal topology share one. Its weights have the names of a graph's prefixes.
    """

    file: FileName
    sha256: Sha256


class TokenizerFile(_Record):
    """A tokenizer of a text encoder, as `tokenizers` writes one."""

    file: FileName
    sha256: Sha256


class StageReference(_Record):
    """A stage of a schedule by position, noisy to clean."""

    schedule: str
    stage: int


class Subgraph(Graph):
    """The denoiser of one stage plan, and the stages that run on it."""

    id: str
    plan: StagePlan
    stages: tuple[StageReference, ...]


class BlobRecord(_Record):
    """The blob file; `dense_bytes` is what the dense model's step and condition weights take alone."""

    file: FileName
    sha256: Sha256
    bytes: int = Field(gt=0)
    dense_bytes: int = Field(gt=0)


class Decode(_Record):
    """How latents become images: as they are (pixel space) or through the VAE's graph (`config`: the VAE's own).

    Those with more latents a side than `tile` are decoded tile by tile.
    """

    kind: Literal["pixels", "vae"]
    graph: Graph | None = None
    config: dict[str, JsonValue] | None = None
    tile: int | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.kind == "vae") != (self.graph is not None and self.config is not None):
            raise ValueError("a VAE needs its graph and its config, pixel space neither")
        return self


class Manifest(_Record):
    """`manifest.json`. `config` and `scheduler` are the checkpoint's own, with diffusers' `_class_name`."""

    format: Literal[1, 2] = FORMAT
    model: ModelIdentity
    config: dict[str, JsonValue]
    scheduler: dict[str, JsonValue]
    labels: tuple[str, ...]
    dtype: DtypeName
    default: str
    schedules: dict[str, Schedule]
    subgraphs: tuple[Subgraph, ...]
    encode: Graph | None = None  # of families that have an encoder
    condition: Graph
    decode: Decode
    networks: tuple[Network, ...] = ()
    tokenizers: tuple[TokenizerFile, ...] = ()  # of models that read texts, one of each encoder
    texts: tuple[str, ...] = ()  # and texts to look at them with
    sizes: tuple[Size, ...] = ()  # of images besides the model's own
    blob: BlobRecord
    created_with: dict[str, str] = Field(default_factory=dict)

    @property
    def once(self) -> Iterator[Graph]:
        """What runs once a request, before its first step."""
        yield self.condition
        if self.encode is not None:
            yield self.encode

    @property
    def graphs(self) -> Iterator[Graph]:
        """Every ONNX file of the bundle."""
        yield from self.subgraphs
        yield from self.once
        if self.decode.graph is not None:
            yield self.decode.graph

    @property
    def files(self) -> Iterator[tuple[str, str]]:
        """Name and sha256 of every file beside the manifest, the blob first."""
        yield self.blob.file, self.blob.sha256
        yield from ((graph.file, graph.sha256) for graph in self.graphs)
        yield from ((network.file, network.sha256) for network in self.networks)
        yield from ((tokenizer.file, tokenizer.sha256) for tokenizer in self.tokenizers)

    def text(self) -> str:
        """The file's content."""
        document = self.model_dump(mode="json", by_alias=True)
        for name in ("encode", "tokenizers", "texts", "sizes"):  # as it was before there were any
            if not document[name]:
                del document[name]
        if self.decode.tile is None:
            del document["decode"]["tile"]
        return json.dumps(document, indent=1) + "\n"


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a bundle folder; BundleError if it is absent, newer than this version, or malformed."""
    path = folder / MANIFEST
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(
            f"{folder} is no readable bundle",
            expected=f"a {MANIFEST}",
            found=str(error),
            remedy="`diffes export` writes bundles.",
        ) from error
    _check_format(document, path)
    return validated(Manifest, document, str(path), BundleError)


def _check_format(document: Any, path: Path) -> None:
    found = document.get("format") if isinstance(document, dict) else None
    if found not in READABLE:
        raise BundleError(
            f"{path} has an unknown format",
            expected=f"format {' or '.join(map(str, READABLE))}",
            found=f"format {found!r}",
            remedy="Use the Diffes version that wrote the bundle, or export it again with this one.",
        )
