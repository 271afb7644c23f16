"""`--workers N`: a search on N processes of this machine."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from diffes.errors import InvalidInput, SearchError
from search.costs import PlanLatency
from search.distributed.arithmetic import arithmetic, available_cores
from search.distributed.pool import Pool
from search.distributed.pooled import PooledEvaluators, assignment
from search.distributed.processes import ProcessCrew
from search.options import SearchOptions
from search.problem import Problem


@dataclass(frozen=True)
class LocalWorkers:
    """`count` processes: one a GPU from cuda:0 on, or on a CPU each on its share of the cores."""

    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InvalidInput("workers", expected="at least 1", found=self.count)

    def fitted(self, options: SearchOptions) -> SearchOptions:
        """On a CPU the threads become an option, the cores' share unless given; SearchError for missing devices.

        How many threads a sum is divided among is seen in its last bits. So it belongs to what is searched, whoever
        computes it: this process takes as many, and the search is the serial one with these `threads`.
        """
        devices_of(options.device, self.count)
        if options.device != "cpu" or options.threads is not None:
            return options
        return options.model_copy(update={"threads": max(1, available_cores() // self.count)})

    def intention(self, options: SearchOptions) -> str:
        """Who works where."""
        devices = devices_of(options.device, self.count)
        where = f"the CPU (--threads {options.threads} each)" if options.device == "cpu" else ", ".join(devices)
        return f"workers: {self.count} on {where}; every one loads the model"

    @contextmanager
    def open(
        self, problem: Problem, latency: PlanLatency | None, calibration: Path, scratch: Path
    ) -> Iterator[PooledEvaluators]:
        """Processes that live as long as the context."""
        devices = devices_of(problem.options.device, self.count)

        def hire(stack: ExitStack) -> Pool:
            crew = ProcessCrew([assignment(problem, latency, calibration, d) for d in devices], scratch)
            stack.callback(crew.close)
            return Pool(crew, arithmetic(problem.options.device))

        with ExitStack() as stack:
            stack.enter_context(scratch_folder(scratch))
            yield PooledEvaluators(hire, scratch, stack)


@contextmanager
def scratch_folder(folder: Path) -> Iterator[None]:
    """An empty folder that is removed at the end; a killed search leaves it to the one that resumes."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def devices_of(device: str, count: int) -> list[str]:
    """The device of each worker: of `cuda` one each, SearchError if there are too few; one that is named is shared."""
    if device != "cuda" or count == 1:
        return [device] * count
    found = torch.cuda.device_count()
    if found < count:
        raise SearchError(
            "not every worker has a device",
            expected=f"{count} CUDA devices",
            found=found,
            remedy=f"Take --workers {found}, or let them share one: --device cuda:0."
            if found
            else "Search on --device cpu.",
        )
    return [f"cuda:{number}" for number in range(count)]
