"""A bundle that has no files, and a backend that computes the tiny DiT in memory: the engine's maths, for real."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from diffes.bundle import Bundle
from diffes.checkpoint import Checkpoint
from diffes.engine.engine import Engine
from diffes.engine.observer import Observer
from diffes.engine.request import Limits
from diffes.levels import LevelGrid
from diffes.manifest import BlobRecord, Decode, Graph, Manifest, StageReference, Subgraph
from diffes.presets import build_schedule
from diffes.prompts import Rows
from diffes.pruning.calibration import Calibration
from diffes.pruning.model import PrunedModel
from diffes.schedule import Sampler, Schedule
from tests.prompting import WithoutEncoder

STEPS = 4
NO_HASH = "0" * 64


@pytest.fixture(scope="session")
def bundle(tiny_checkpoint: Checkpoint) -> Bundle:
    """Schedules `mixed` (default: two levels in turn over four stages) and `half` (one plan, shared with `mixed`)."""
    grid = LevelGrid.of(tiny_checkpoint.architecture.dense)
    sampler = Sampler(class_name="DDIMScheduler", steps=STEPS, guidance=1.5)
    dense, half = grid.plan(0, 0), grid.plan(grid.parts // 2, grid.parts // 2)
    schedules = {
        "mixed": build_schedule(tiny_checkpoint, sampler, [dense, half, dense, half], "none", {}),
        "half": build_schedule(tiny_checkpoint, sampler, [half, half], "none", {}),
    }
    bundle = Bundle(Path("nowhere"), _manifest(tiny_checkpoint, schedules))
    vars(bundle)["id"] = "0123456789abcdef"  # which a file would give
    return bundle


def _manifest(checkpoint: Checkpoint, schedules: dict[str, Schedule]) -> Manifest:
    plans = dict.fromkeys(stage.blocks for schedule in schedules.values() for stage in schedule.stages)
    files = {"sha256": NO_HASH, "inputs": (), "outputs": (), "prefixes": {}}
    subgraphs = tuple(
        Subgraph.model_validate(
            files
            | {
                "file": f"step{i}.onnx",
                "id": f"step{i}",
                "plan": plan,
                "stages": [
                    StageReference(schedule=name, stage=index)
                    for name, schedule in schedules.items()
                    for index, stage in enumerate(schedule.stages)
                    if stage.blocks == plan
                ],
            }
        )
        for i, plan in enumerate(plans)
    )
    return Manifest(
        model=checkpoint.identity,
        config=dict(checkpoint.config),
        scheduler=dict(checkpoint.scheduler_config),
        labels=checkpoint.labels,
        dtype="float32",
        default="mixed",
        schedules=schedules,
        subgraphs=subgraphs,
        condition=Graph.model_validate(files | {"file": "condition.onnx"}),
        decode=Decode(kind="pixels"),
        blob=BlobRecord(file="weights.safetensors", sha256=NO_HASH, bytes=1, dense_bytes=1),
    )


class MemoryBackend(WithoutEncoder):
    """The bundle's subgraphs computed by a PrunedModel. `calls` lists (subgraph, rows); `before` sees each call."""

    name = "memory"
    buckets: tuple[int, ...] = ()
    device = torch.device("cpu")

    def __init__(self, bundle: Bundle, model: PrunedModel) -> None:
        self.calls: list[tuple[str, int]] = []
        self.before: Callable[[str, int], None] = lambda _subgraph, _rows: None
        self.after: Callable[[Tensor], Tensor] = lambda output: output
        self.closed = False
        self._plans = {name: plan for plan, name in bundle.subgraph_of.items()}
        self._model = model

    def condition(self, timesteps: Tensor, features: Rows) -> dict[str, Tensor]:
        self.before("condition", len(timesteps))
        return self._model.condition(timesteps, features)

    def denoise(self, subgraph: str, latents: Tensor, conditions: Mapping[str, Tensor]) -> Tensor:
        self.calls.append((subgraph, len(latents)))
        self.before(subgraph, len(latents))
        return self.after(self._model.denoise(self._plans[subgraph], latents, conditions))

    def decode(self, latents: Tensor) -> Tensor:
        self.before("decode", len(latents))
        return latents.clamp(-1, 1)

    def close(self) -> None:
        self.closed = True


@pytest.fixture(scope="session")
def model(tiny_checkpoint: Checkpoint, tiny_calibration: Calibration) -> PrunedModel:
    """The tiny model, ordered."""
    weights = tiny_checkpoint.architecture.convert(tiny_checkpoint.denoiser_state())
    weights = {name: tensor.float() for name, tensor in weights.items()}
    return PrunedModel(tiny_checkpoint.architecture, weights, tiny_calibration, "none")


@pytest.fixture
def backend(bundle: Bundle, model: PrunedModel) -> MemoryBackend:
    """A fresh backend on the shared model."""
    return MemoryBackend(bundle, model)


EngineFactory = Callable[..., Engine]


@pytest.fixture
def engine_with(bundle: Bundle, backend: MemoryBackend) -> Iterator[EngineFactory]:
    """Make an engine that is not started: a test drives `step` itself, or calls `start`. Closed at the end."""
    made: list[Engine] = []

    def make(limits: Limits | None = None, observer: Observer | None = None, **options: Any) -> Engine:
        made.append(Engine(bundle, backend, limits, observer, **options))
        return made[-1]

    yield make
    for engine in made:
        engine.close(drain=False)
