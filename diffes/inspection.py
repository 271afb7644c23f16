"""What a bundle holds and costs, as numbers: `diffes inspect`."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Column, Table

from diffes.bundle import Bundle
from diffes.manifest import Graph
from diffes.pruning.cost import plan_macs
from diffes.pruning.mode import Compensation
from diffes.schedule import Schedule, StagePlan, executed_steps


@dataclass(frozen=True, slots=True)
class StageInspection:
    """One stage of a schedule. Shares and means are over blocks; MACs of one row of one step."""

    stage: int
    high: int
    low: int
    steps: int
    heads: float
    channels: float
    macs: int
    share_kept: float
    subgraph: str


@dataclass(frozen=True, slots=True)
class SubgraphInspection:
    """One subgraph and the bytes of the blob it reads."""

    id: str
    file: str
    plan: StagePlan
    weight_bytes: int


@dataclass(frozen=True, slots=True)
class ScheduleInspection:
    """One schedule: its compensation, the share of the dense model's MACs it does without, and its stages."""

    name: str
    compensation: str
    macs_removed: float
    stages: tuple[StageInspection, ...]


@dataclass(frozen=True)
class Inspection:
    """`memory_ratio`: weight bytes resident with every subgraph loaded, each counted once, over the dense model's.

    `macs_removed` and `stages` are the default schedule's.
    """

    default: str
    schedules: tuple[ScheduleInspection, ...]
    labels: tuple[str, ...]
    memory_ratio: float
    macs_removed: float
    blob_bytes: int
    resident_bytes: int
    dense_bytes: int
    stages: tuple[StageInspection, ...]
    subgraphs: tuple[SubgraphInspection, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`."""
        return asdict(self)

    def __rich__(self) -> RenderableType:
        """Two tables and the sums."""
        return Group(self._summary(), self._stage_table(), self._subgraph_table())

    def _summary(self) -> str:
        return (
            f"default schedule {self.default}, {self._subjects()}\n"
            f"MACs removed: {', '.join(f'{s.name} {s.macs_removed:.1%} ({s.compensation})' for s in self.schedules)}\n"
            f"weights resident {_mib(self.resident_bytes)} = {self.memory_ratio:.3f} x dense"
            f" {_mib(self.dense_bytes)}; blob {_mib(self.blob_bytes)}"
        )

    def _subjects(self) -> str:
        return f"{len(self.labels)} labels" if self.labels else "reads texts"

    def _stage_table(self) -> Table:
        table = _table("schedule", "stage", "timesteps", "steps", "heads", "channels", "MMACs", "kept", "subgraph")
        for name, stage in ((s.name, stage) for s in self.schedules for stage in s.stages):
            table.add_row(
                name,
                str(stage.stage),
                f"{stage.high}..{stage.low}",
                str(stage.steps),
                f"{stage.heads:g}",
                f"{stage.channels:g}",
                f"{stage.macs / 1e6:.0f}",
                f"{stage.share_kept:.1%}",
                stage.subgraph,
            )
        return table

    def _subgraph_table(self) -> Table:
        table = _table("subgraph", "file", "weights")
        for subgraph in self.subgraphs:
            table.add_row(subgraph.id, subgraph.file, _mib(subgraph.weight_bytes))
        return table


def inspect(bundle: Bundle) -> Inspection:
    """Read everything off an opened bundle."""
    manifest = bundle.manifest
    resident = resident_bytes(bundle, [*manifest.subgraphs, *manifest.once])
    schedules = {
        name: ScheduleInspection(name, schedule.compensation, schedule.cost.macs_removed, inspect_stages(bundle, name))
        for name, schedule in manifest.schedules.items()
    }
    return Inspection(
        default=bundle.default,
        schedules=tuple(schedules.values()),
        labels=bundle.labels,
        memory_ratio=resident / manifest.blob.dense_bytes,
        macs_removed=schedules[bundle.default].macs_removed,
        blob_bytes=manifest.blob.bytes,
        resident_bytes=resident,
        dense_bytes=manifest.blob.dense_bytes,
        stages=schedules[bundle.default].stages,
        subgraphs=tuple(
            SubgraphInspection(s.id, s.file, s.plan, resident_bytes(bundle, [s])) for s in manifest.subgraphs
        ),
    )


def resident_bytes(bundle: Bundle, graphs: Iterable[Graph]) -> int:
    """Bytes of the blob that the graphs read, each counted once: of every tensor its longest prefix."""
    longest: dict[str, int] = {}
    for graph in graphs:
        for prefix in graph.prefixes.values():
            entry = bundle.blob.entries[prefix.tensor]
            length = entry.length if prefix.rows is None else entry.length // entry.shape[0] * prefix.rows
            longest[prefix.tensor] = max(longest.get(prefix.tensor, 0), length)
    return sum(longest.values())


def inspect_stages(bundle: Bundle, name: str) -> tuple[StageInspection, ...]:
    """The stages of a schedule, noisy to clean."""
    schedule: Schedule = bundle.schedule(name)
    architecture = bundle.architecture
    dense, mode = architecture.macs(architecture.dense), Compensation.parse(schedule.compensation)
    path = bundle.trajectory(schedule.sampler.steps, name)
    counts = executed_steps([(stage.high, stage.low) for stage in schedule.stages], path.timesteps)
    found = []
    for index, (stage, steps) in enumerate(zip(schedule.stages, counts, strict=True)):
        blocks = stage.blocks
        macs = plan_macs(architecture, blocks, mode)
        found.append(
            StageInspection(
                stage=index,
                high=stage.high,
                low=stage.low,
                steps=steps,
                heads=sum(block.heads for block in blocks) / len(blocks),
                channels=sum(block.channels for block in blocks) / len(blocks),
                macs=macs,
                share_kept=macs / dense,
                subgraph=bundle.subgraph_of[blocks],
            )
        )
    return tuple(found)


def _table(*headings: str) -> Table:
    """A table that fits 80 columns without cutting names."""
    return Table(*(Column(heading, no_wrap=True) for heading in headings), box=None, padding=(0, 2, 0, 0))


def _mib(count: int) -> str:
    return f"{count / 2**20:.2f} MiB"
