"""Where a search's rollouts run: in its own process, or wherever a `Distribution` has workers."""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from search.costs import PlanLatency
from search.error_table import ErrorTable, TableEntry
from search.fitness import Distance, Evaluator, SerialEvaluator
from search.options import SearchOptions, TableMethod
from search.problem import Problem


class Evaluators(Protocol):
    """Makes what judges genomes and measures table entries. Values come in the order asked, as they are found."""

    def evaluator(self, distance: Distance) -> Evaluator:
        """What turns genomes into objectives on the probes of `distance`; make it once for all of them."""

    def measured(self, distance: Distance, method: TableMethod, entries: Sequence[TableEntry]) -> Iterator[float]:
        """Errors of table entries; inf where one is not finite."""


class Distribution(Protocol):
    """A choice of where rollouts run. It changes how long a search takes, never what it finds."""

    def fitted(self, options: SearchOptions) -> SearchOptions:
        """The options with what this choice settles; SearchError for a device it cannot use."""

    def open(
        self, problem: Problem, latency: PlanLatency | None, calibration: Path, scratch: Path
    ) -> AbstractContextManager[Evaluators]:
        """Evaluators until the context ends. The file `calibration` exists before the first of them is asked for;
        `scratch` is a folder of theirs, removed at the end."""

    def intention(self, options: SearchOptions) -> str | None:
        """What is said before the search begins, if anything."""


class Serial:
    """One rollout after the other, in this process."""

    def fitted(self, options: SearchOptions) -> SearchOptions:
        """The options as they are."""
        return options

    def intention(self, options: SearchOptions) -> str | None:  # noqa: ARG002
        """Nothing to say."""
        return None

    @contextmanager
    def open(
        self,
        problem: Problem,  # noqa: ARG002
        latency: PlanLatency | None,  # noqa: ARG002
        calibration: Path,  # noqa: ARG002
        scratch: Path,
    ) -> Iterator[Evaluators]:
        """Nothing to open; what a killed search's workers left goes."""
        shutil.rmtree(scratch, ignore_errors=True)
        yield self

    def evaluator(self, distance: Distance) -> Evaluator:
        """Judges on `distance` itself."""
        return SerialEvaluator(distance)

    def measured(self, distance: Distance, method: TableMethod, entries: Iterable[TableEntry]) -> Iterator[float]:
        """Measures when the next error is asked for."""
        return map(ErrorTable(distance, method).measure, entries)
