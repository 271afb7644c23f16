"""Which shapes an engine is built for: an optimisation profile for every plan, size of batch and size of image.

An engine is built once a network, so once for all widths of a topology. Every profile fixes the width of each weight
to one plan's prefix, the number of rows to one of a few and the sides of images to one of the bundle's sizes: TensorRT
then chooses kernels for exactly that.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from diffes.backends.buckets import DECODED
from diffes.blob import Entry
from diffes.bundle import Bundle
from diffes.errors import BundleError, InvalidInput
from diffes.graphs import read_graph, tensor_specs
from diffes.manifest import Graph, TensorSpec
from diffes.sizes import Size

VARIABLE = "DIFFES_TENSORRT_BATCHES"
# rows of a call: an image is two with guidance. Every size is a profile of every plan, and takes its time and bytes.
BATCHES = (2, 8, 32)
LATENTS = "latents"
_MOST_ROWS = 4096

Shape = tuple[int, ...]
Place = tuple[str, Shape]  # a graph, and the sides of latents where they are free


@dataclass(frozen=True)
class Profile:
    """One graph of the bundle at one number of rows: the shapes of every input that has a free axis, and of outputs.

    `sides` are those of the latents, where a graph takes latents of any.
    """

    graph: str
    rows: int
    shapes: tuple[tuple[str, Shape], ...]
    outputs: tuple[tuple[str, Shape], ...] = ()
    sides: Shape = ()

    @property
    def place(self) -> Place:
        """What profiles have in common that differ in their rows alone."""
        return self.graph, self.sides


@dataclass(frozen=True)
class EngineSpec:
    """What one engine is built from."""

    network: Path
    sha256: str
    profiles: tuple[Profile, ...]

    @property
    def graphs(self) -> tuple[str, ...]:
        """Files of the graphs that the engine stands for, each once."""
        return tuple(dict.fromkeys(profile.graph for profile in self.profiles))


def batches_from(text: str | None) -> tuple[int, ...]:
    """Ascending sizes from words like "2,8,32"; None: what the environment says, else BATCHES.

    InvalidInput unless all are counts.
    """
    given = os.environ.get(VARIABLE) if text is None else text
    if given is None:
        return BATCHES
    words = given.split(",")
    if not all(word.strip().isdecimal() and 0 < int(word) <= _MOST_ROWS for word in words):
        raise InvalidInput(VARIABLE, expected=f"counts of 1 to {_MOST_ROWS} such as 2,8,32", found=repr(given))
    return tuple(sorted({int(word) for word in words}))


def engine_specs(bundle: Bundle, batches: tuple[int, ...] = BATCHES) -> tuple[EngineSpec, ...]:
    """One engine a network of the bundle; BundleError if a graph has no network, or images are decoded in tiles."""
    if tile := bundle.manifest.decode.tile:
        raise BundleError(
            "TensorRT engines decode whole images",
            expected="a bundle without tiles",
            found=f"tiles of {tile} latents",
            remedy="Export it without --decode-tile, or serve it with --backend torch or onnxruntime.",
        )
    graphs: dict[str, list[Graph]] = {}
    for graph in bundle.manifest.graphs:
        graphs.setdefault(bundle.network(graph).file, []).append(graph)
    digests = {network.file: network.sha256 for network in bundle.manifest.networks}
    inputs = {file: tensor_specs(read_graph(bundle.folder / file).graph.input) for file in graphs}
    decoder = bundle.manifest.decode.graph
    return tuple(
        EngineSpec(
            network=bundle.folder / file,
            sha256=digests[file],
            profiles=tuple(
                _profile(bundle, graph, inputs[file], rows, size)
                for graph in sharing
                for size in (bundle.sizes if _has_free_sides(graph) else (bundle.image_size,))
                for rows in (decoder_batches(batches) if graph is decoder else batches)
            ),
        )
        for file, sharing in graphs.items()
    )


def decoder_batches(batches: tuple[int, ...]) -> tuple[int, ...]:
    """The sizes an image decoder is built for: one image, and the largest that is not too many."""
    return tuple(sorted({1, max((size for size in batches if size <= DECODED), default=1)}))


def prefix_shape(graph: Graph, name: str, entries: Mapping[str, Entry]) -> Shape:
    """Shape of the prefix that a graph's weight is."""
    prefix = graph.prefixes[name]
    whole = entries[prefix.tensor].shape
    return whole if prefix.rows is None else (prefix.rows, *whole[1:])


def _has_free_sides(graph: Graph) -> bool:
    return any(spec.name == LATENTS and spec.shape.count(None) > 1 for spec in graph.inputs)


def _filled(spec: TensorSpec, *free: int) -> Shape:
    """A shape whose free axes are, in their order, rows, height and width."""
    given = iter(free)
    return tuple(next(given) if size is None else size for size in spec.shape)


def _profile(bundle: Bundle, graph: Graph, inputs: Sequence[TensorSpec], rows: int, size: Size) -> Profile:
    """`inputs` are the network's, weights included."""
    sides = bundle.latents_of(size)[1:]
    shapes: list[tuple[str, Shape]] = []
    for spec in inputs:
        if None not in spec.shape:
            continue
        if spec.name in graph.prefixes:
            shapes.append((spec.name, prefix_shape(graph, spec.name, bundle.blob.entries)))
        else:
            shapes.append((spec.name, _filled(spec, rows, *sides)))
    made = size if graph is bundle.manifest.decode.graph else sides
    outputs = tuple((spec.name, _filled(spec, rows, *made)) for spec in graph.outputs)
    return Profile(graph.file, rows, tuple(shapes), outputs, sides if _has_free_sides(graph) else ())
