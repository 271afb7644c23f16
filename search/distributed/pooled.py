"""Evaluators on a pool of workers: genomes one by one, table entries by the dense step they share."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count, groupby
from pathlib import Path

import torch

from search.costs import PlanLatency
from search.distributed.messages import Assignment, Judge, Measure
from search.distributed.pool import Pool
from search.distributed.teachers import save_teacher
from search.error_table import TableEntry
from search.fitness import Distance
from search.genome import Genome
from search.options import TableMethod
from search.problem import Problem


@dataclass(frozen=True)
class PooledEvaluator:
    """Judges one genome a task; `pool` starts the workers if nobody has."""

    distance: Distance
    teacher: str
    pool: Callable[[], Pool]

    def __call__(self, genomes: Sequence[Genome]) -> Iterator[float]:
        """Objectives in the genomes' order; nan where the samples are not finite."""
        for (objective,) in self.pool().run([Judge(self.teacher, genome) for genome in genomes]):
            yield objective


Hire = Callable[[ExitStack], Pool]  # what ends the workers goes onto the stack


class PooledEvaluators:
    """Writes teachers into `folder` for the workers, whom it hires when they are first needed."""

    def __init__(self, hire: Hire, folder: Path, stack: ExitStack) -> None:
        self._hire = hire
        self._folder = folder
        self._stack = stack
        self._numbers = count()
        self._pool: Pool | None = None

    def evaluator(self, distance: Distance) -> "PooledEvaluator":
        """Judges on what a teacher's file says."""
        return PooledEvaluator(distance, self._publish(distance), self._running)

    def measured(self, distance: Distance, method: TableMethod, entries: Sequence[TableEntry]) -> Iterator[float]:
        """Measures the neighbours of a stage in one task."""
        teacher = self._publish(distance)
        tasks = [Measure(teacher, piece) for piece in pieces(method, entries)]
        for values in self._running().run(tasks):
            yield from values

    def _publish(self, distance: Distance) -> str:
        name = f"teacher-{next(self._numbers)}.safetensors"
        save_teacher(distance.teacher, self._folder / name)
        return name

    def _running(self) -> Pool:
        if self._pool is None:
            self._pool = self._hire(self._stack)
        return self._pool


def pieces(method: TableMethod, entries: Sequence[TableEntry]) -> list[tuple[TableEntry, ...]]:
    """Neighbours that share a stage's dense step together, every rollout by itself."""
    together: list[tuple[TableEntry, ...]] = []
    for (_, forced), group in groupby(entries, lambda entry: (entry.stage, entry.gene is not None)):
        shared = tuple(group)
        together += [shared] if forced and method == "teacher-forced" else [(entry,) for entry in shared]
    return together


def assignment(problem: Problem, latency: PlanLatency | None, calibration: Path, device: str) -> Assignment:
    """What a worker on a device is told; paths are absolute, for processes that began elsewhere."""
    features = problem.options.features
    places = {"device": device, "features": features and str(Path(features).resolve())}
    return Assignment(
        checkpoint=problem.checkpoint.folder.resolve(),
        options=problem.options.model_copy(update=places),
        latency=latency,
        calibration=calibration.resolve(),
        threads=torch.get_num_threads(),
    )
