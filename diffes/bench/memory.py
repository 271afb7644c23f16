"""Device memory by kind: the weights a backend holds, what it holds beside them, and what others would hold."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from diffes.backends import open_backend
from diffes.bench.compare import used_bytes
from diffes.bench.entrants import Inputs
from diffes.bundle import Bundle
from diffes.inspection import resident_bytes
from diffes.rollout import conditions_of
from diffes.schedule import StagePlan


@dataclass(frozen=True)
class MemoryReport:
    """Bytes. Of weights: of the dense model alone; of the bundle with every subgraph loaded; of a pruned copy for every
    distinct plan (stitching); and of the dense model with every stage's own copy of the thinned output projections
    beside it, the bank that Diff-ES' code keeps. Of the device, as measured (None on a CPU): what opening the backend
    took, and what its first steps and their recordings took beyond that.
    """

    backend: str
    device: str
    dense: int
    bundle: int
    copies: int
    bank: int
    opened: int | None
    first_steps: int | None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"format": 1, **asdict(self)}


def measure_memory(bundle: Bundle, name: str, device: str, rows: Sequence[int]) -> MemoryReport:
    """Open a backend, take one step of every subgraph at every batch of `rows`, and see what that takes."""
    place = torch.device(device)
    empty = used_bytes(place)
    backend = open_backend(name, bundle, device)
    opened = used_bytes(place) - empty
    for count in rows:
        inputs = Inputs.of(bundle.architecture, count, place)
        conditions = conditions_of(backend, backend.encode(inputs.prompts), inputs.timesteps)
        for subgraph in bundle.manifest.subgraphs:
            backend.denoise(subgraph.id, inputs.latents, conditions)
    grown = used_bytes(place) - empty - opened
    backend.close()
    on_gpu = place.type == "cuda"
    return MemoryReport(
        name,
        device,
        **weight_bytes(bundle),
        opened=opened if on_gpu else None,
        first_steps=grown if on_gpu else None,
    )


def weight_bytes(bundle: Bundle) -> dict[str, int]:
    """What the weights of all plans, or for `bank` of the default schedule's stages, take under each way to hold them.

    What runs once a request counts once in all.
    """
    manifest, dense = bundle.manifest, bundle.architecture.dense
    by_plan = {graph.plan: graph for graph in manifest.subgraphs}
    condition = resident_bytes(bundle, list(manifest.once))
    projections = {layer.projection for layer in bundle.architecture.layers}

    def thinned(plan: StagePlan) -> int:
        weights = bundle.weights(by_plan[plan])
        return sum(tensor.nbytes for name, tensor in weights.items() if name in projections)

    banked = sum(thinned(stage.blocks) for stage in bundle.schedule().stages if stage.blocks != dense)
    return {
        "dense": manifest.blob.dense_bytes,
        "bundle": resident_bytes(bundle, [*manifest.subgraphs, *manifest.once]),
        "copies": condition + sum(resident_bytes(bundle, [graph]) for graph in manifest.subgraphs),
        "bank": manifest.blob.dense_bytes + banked,
    }
