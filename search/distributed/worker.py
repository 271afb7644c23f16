"""What a worker does, wherever it runs: build the model once, then turn tasks into values."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from diffes.checkpoint import Checkpoint
from diffes.pruning.calibration import Calibration
from search.distributed.arithmetic import arithmetic
from search.distributed.messages import Answer, Assignment, Judge, Raised, Ready, Task
from search.distributed.teachers import load_teacher
from search.error_table import ErrorTable
from search.fitness import Distance
from search.problem import Problem
from search.rollouts import Rollouts


@dataclass
class Worker:
    """A problem with its model in this process, and the teachers met so far."""

    problem: Problem
    rollouts: Rollouts
    distances: dict[str, Distance] = field(default_factory=dict)
    table: tuple[str, ErrorTable] | None = None

    @classmethod
    def of(cls, assignment: Assignment) -> "Worker":
        """Open the checkpoint and place the ordered weights.

        CheckpointError for a folder that is not there, or not of the model that was calibrated.
        """
        torch.set_num_threads(assignment.threads)
        texts = assignment.options.prompts
        checkpoint = Checkpoint.open(assignment.checkpoint, Path(texts) if texts else None)
        problem = Problem.of(checkpoint, assignment.options, assignment.latency)
        return cls(problem, problem.rollouts(Calibration.load(assignment.calibration, checkpoint)))

    def teach(self, name: str, path: Path) -> None:
        """Take a teacher from its file, to be called `name`."""
        teacher = load_teacher(path, self.rollouts.model.device)
        self.distances[name] = self.problem.distance_to(teacher, self.rollouts)

    def values(self, task: Task) -> list[float]:
        """A task's values; of its teacher the worker has been told."""
        if isinstance(task, Judge):
            return [self.distances[task.teacher](task.genome)]
        if self.table is None or self.table[0] != task.teacher:
            self.table = task.teacher, ErrorTable(self.distances[task.teacher], self.problem.options.table)
        return [self.table[1].measure(entry) for entry in task.entries]


def started(assignment: Assignment) -> tuple[Worker | None, Ready | Raised]:
    """A worker that is ready, or what was raised instead."""
    try:
        worker = Worker.of(assignment)
        return worker, Ready(arithmetic(assignment.options.device))
    except Exception as error:  # noqa: BLE001 - whatever it is, the search raises it
        return None, Raised.of(error)


def answered(worker: Worker, task: Task, fetch: Callable[[str], Path]) -> Answer | Raised:
    """A task's values, or what was raised instead; `fetch` gives the file of a teacher the worker has not met."""
    try:
        if task.teacher not in worker.distances:
            worker.teach(task.teacher, fetch(task.teacher))
        return Answer(worker.values(task))
    except Exception as error:  # noqa: BLE001 - whatever it is, the search raises it
        return Raised.of(error)
