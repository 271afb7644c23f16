"""A bundle: the exported folder a service runs on. Manifest, one blob, graphs beside it.

Opening a bundle verifies every hash, shape and range before anything is served; what is opened is read-only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from diffes.architectures import Architecture, architecture_for
from diffes.blob import Blob
from diffes.components import pixels_of, stride_of
from diffes.errors import BundleError, CheckpointError, InvalidInput, ScheduleError
from diffes.files import sha256_of
from diffes.graphs import check_graph, check_network
from diffes.manifest import DTYPES, MANIFEST, WEIGHTS, Graph, Manifest, Network, Subgraph, read_manifest
from diffes.pruning.prefix import Prefix
from diffes.sampling import Trajectory, train_timesteps, trajectory
from diffes.schedule import Schedule, StagePlan
from diffes.sizes import Size
from diffes.tokens import Tokenizer
from diffes.wording import ClassNames, Texts, Wording


@dataclass(frozen=True)
class Bundle:
    """An opened, verified bundle."""

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: Path) -> "Bundle":
        """Read and verify everything; BundleError names what was expected and found."""
        bundle = cls(folder, read_manifest(folder))
        _check_files(bundle)
        _check_schedules(bundle)
        for graph in bundle.manifest.graphs:
            check_graph(folder / graph.file, graph, bundle.blob)
            if graph.network is not None:
                check_network(folder / bundle.network(graph).file, graph, bundle.blob)
        for subgraph in bundle.manifest.subgraphs:
            _check_plan(bundle, subgraph)
        return bundle

    @cached_property
    def id(self) -> str:
        """16 hex digits that tell it from every other bundle: the manifest holds the hashes of all its files."""
        return sha256_of(self.folder / MANIFEST)[:16]

    @cached_property
    def architecture(self) -> Architecture:
        """The denoiser's family, from the manifest's config."""
        try:
            return architecture_for(self.manifest.model.class_name, self.manifest.config)
        except CheckpointError as error:
            raise BundleError(f"{self.folder}: {error.what}", expected=error.expected, found=error.found) from error

    @cached_property
    def blob(self) -> Blob:
        """The mapped blob."""
        return Blob(self.folder / self.manifest.blob.file)

    @cached_property
    def subgraph_of(self) -> Mapping[StagePlan, str]:
        """Subgraph id of each stage plan, as the router wants it."""
        return {subgraph.plan: subgraph.id for subgraph in self.manifest.subgraphs}

    @property
    def decoded_dtype(self) -> torch.dtype:
        """What latents are decoded in: a VAE that float16 is not enough for is kept in float32."""
        graph = self.manifest.decode.graph
        return self.dtype if graph is None else DTYPES[graph.inputs[0].dtype]

    @property
    def dtype(self) -> torch.dtype:
        """What the blob's weights are stored in."""
        return DTYPES[self.manifest.dtype]

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names by class id."""
        return self.manifest.labels

    @cached_property
    def wording(self) -> Wording:
        """How callers say what an image is to show."""
        if not self.manifest.tokenizers:
            return ClassNames(self.labels, self.architecture.examples())
        documents = [(self.folder / each.file).read_text(encoding="utf-8") for each in self.manifest.tokenizers]
        return Texts(self.architecture, [Tokenizer(each) for each in documents], self.manifest.texts, self.image_size)

    @property
    def default(self) -> str:
        """Name of the schedule that serves a request which names none."""
        return self.manifest.default

    def weights(self, graph: Graph, tensors: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """What a graph reads, by the names its module knows, as views of `tensors` (None: of the mapped blob)."""
        stored = self.blob if tensors is None else tensors
        return {
            name.removeprefix(WEIGHTS): Prefix(prefix.tensor, prefix.rows).of(stored)
            for name, prefix in graph.prefixes.items()
        }

    def network(self, graph: Graph) -> Network:
        """The graph with its weights as inputs; BundleError if the bundle has none of it."""
        for network in self.manifest.networks:
            if network.file == graph.network:
                return network
        raise BundleError(
            f"{graph.file} has no network, the graph whose weights are inputs",
            expected=graph.network or "a bundle of format 2",
            found=", ".join(network.file for network in self.manifest.networks) or "no networks",
            remedy="Export the bundle again with this version.",
        )

    def schedule(self, name: str | None = None) -> Schedule:
        """A schedule by name (None: the default); InvalidInput lists the names there are."""
        name = self.default if name is None else name
        if name not in self.manifest.schedules:
            raise InvalidInput("schedule", expected=f"one of {', '.join(self.manifest.schedules)}", found=name)
        return self.manifest.schedules[name]

    @property
    def image_size(self) -> Size:
        """Height and width of the images if nobody asks for others, in pixels."""
        return pixels_of(self.architecture.latent_shape, self.manifest.decode.config)

    @property
    def sizes(self) -> tuple[Size, ...]:
        """Of all images that can be asked for, the model's own first."""
        return self.image_size, *self.manifest.sizes

    def latents_of(self, size: Size) -> tuple[int, int, int]:
        """Channels, height, width of the latents of images of that size."""
        stride = stride_of(self.manifest.decode.config)
        return self.architecture.latent_shape[0], size.height // stride, size.width // stride

    def trajectory(self, steps: int, schedule: str | None = None) -> Trajectory:
        """`steps` steps of the named schedule's sampler; InvalidInput if out of range."""
        sampler = self.schedule(schedule).sampler.class_name
        return trajectory(sampler, self.manifest.scheduler, steps)


def _check_files(bundle: Bundle) -> None:
    """Every file there, the blob's size first (a truncated file is named as such), then every hash."""
    record = bundle.manifest.blob
    files = list(bundle.manifest.files)
    for name, _ in files:
        if not (bundle.folder / name).is_file():
            raise BundleError(
                f"{bundle.folder / name} is missing", expected="a file", found="none", remedy="Copy the whole bundle."
            )
    size = (bundle.folder / record.file).stat().st_size
    if size != record.bytes:
        raise BundleError(f"{record.file} has a wrong size", expected=f"{record.bytes} bytes", found=size)
    for name, expected in files:
        found = sha256_of(bundle.folder / name)
        if found != expected:
            raise BundleError(
                f"{bundle.folder / name} is damaged",
                expected=f"sha256 {expected}",
                found=found,
                remedy="Copy the bundle again, or export it again.",
            )


def _check_schedules(bundle: Bundle) -> None:
    """Schedules that fit this model, each stage with a subgraph, and the default among them."""
    manifest = bundle.manifest
    if manifest.default not in manifest.schedules:
        raise BundleError(
            "the default schedule is not in the bundle",
            expected=f"one of {', '.join(manifest.schedules)}",
            found=manifest.default,
        )
    for name, schedule in manifest.schedules.items():
        try:
            schedule.require_fit(manifest.model, bundle.architecture.dense, train_timesteps(manifest.scheduler))
        except (ScheduleError, CheckpointError) as error:
            raise BundleError(f"schedule {name}: {error.what}", expected=error.expected, found=error.found) from error
        for index, stage in enumerate(schedule.stages):
            if stage.blocks not in bundle.subgraph_of:
                raise BundleError(
                    f"stage {index} of schedule {name} has no subgraph",
                    expected="a subgraph of its plan",
                    found=", ".join(bundle.subgraph_of.values()) or "none",
                )


def _check_plan(bundle: Bundle, subgraph: Subgraph) -> None:
    """A subgraph reads as many rows of every pruned tensor as its plan keeps."""
    weights = bundle.weights(subgraph)
    for layer in bundle.architecture.layers:
        kept = layer.kept(subgraph.plan)
        for name in (*layer.sliced, layer.projection):
            expected = len(bundle.blob[name]) // layer.units * kept if name in bundle.blob else None
            found = len(weights[name]) if name in weights else 0
            if found != expected:
                raise BundleError(
                    f"subgraph {subgraph.id} does not read what its plan keeps",
                    expected=f"{expected} rows of {name}",
                    found=found,
                )
