"""A search folder as it was left: finished or interrupted, here or on another machine."""

from dataclasses import dataclass
from pathlib import Path

from diffes.errors import SearchError
from diffes.pareto import ParetoFront, ParetoPoint
from diffes.pruning.calibration import CALIBRATION_FILE
from diffes.schedule import ModelIdentity, Sampler, Schedule
from search.genome import Genome
from search.options import SearchOptions
from search.report.documents import FrontLog, Log, Space, Table
from search.report.layout import Layout
from search.state import FRONT_FILE, LOG_FILE, SCHEDULE_FILE, STATE_FILE, TABLE_FILE, SearchState


@dataclass(frozen=True)
class Answer:
    """The one schedule a finished search of one budget ends in, and its log."""

    log: Log
    schedule: Schedule


@dataclass(frozen=True)
class Front:
    """The front a finished search over a range of budgets ends in, and its log."""

    log: FrontLog
    pareto: ParetoFront

    @property
    def uniform(self) -> ParetoPoint | None:
        """The uniform schedule nearest to the middle of the range, if there is one."""
        middle = sum(self.pareto.shares) / 2
        return min(self.pareto.uniform, key=lambda point: abs(point.removed - middle), default=None)

    @property
    def middle(self) -> int:
        """The index of the point to look at closely: the one that saves no less than `uniform`, so that the two
        compare; without it the point halfway."""
        points, uniform = self.pareto.points, self.uniform
        if uniform is None:
            return len(points) // 2
        return next((i for i, point in enumerate(points) if point.removed >= uniform.removed), len(points) - 1)


@dataclass(frozen=True)
class Record:
    """What the files say; `found` is None until a search is finished, `table` until it is measured or if none is."""

    folder: Path
    state: SearchState
    table: Table | None
    found: Answer | Front | None

    @classmethod
    def load(cls, folder: Path) -> "Record":
        """Read a folder; SearchError if it holds no search, or files of different ones."""
        if not (folder / STATE_FILE).exists():
            raise SearchError(
                f"{folder} holds no search",
                expected=f"a folder with {STATE_FILE}, written by `diffes search --out`",
                found="other files" if folder.is_dir() and any(folder.iterdir()) else "nothing",
            )
        state = SearchState.load(folder)
        record = cls(
            folder=folder,
            state=state,
            table=Table.load(folder / TABLE_FILE) if (folder / TABLE_FILE).exists() else None,
            found=_front(folder) if state.options.front else _answer(folder),
        )
        record._require_one_search()
        return record

    @property
    def options(self) -> SearchOptions:
        """What was asked for."""
        return self.state.options

    @property
    def log(self) -> Log | None:
        """The log of a finished search of one budget."""
        return self.found.log if isinstance(self.found, Answer) else None

    @property
    def calibration(self) -> Path:
        """The calibration the search worked with."""
        return self.folder / CALIBRATION_FILE

    @property
    def space(self) -> Space | None:
        """What levels mean; None before the table or the log says it."""
        return self.found.log.space if self.found else self.table

    @property
    def layout(self) -> Layout | None:
        """Where a genome's levels belong; None where `space` is."""
        if self.space is None:
            return None
        tied = self.options.widths == "tied" or self.options.depth == "alone"
        return Layout(self.space.parts, tuple(self.space.groups), tuple(self.space.executed_steps), tied)

    @property
    def dense_macs(self) -> int | None:
        """MACs of one row of one dense step, which is one evaluation; None where `space` is."""
        return None if self.space is None else self.space.dense_macs

    @property
    def sampler(self) -> Sampler | None:
        """The sampler of the schedules found."""
        if self.found is None:
            return None
        return self.found.schedule.sampler if isinstance(self.found, Answer) else self.found.pareto.sampler

    @property
    def best(self) -> Genome | None:
        """The chosen genome, or the best so far of an interrupted search; of a front, its middle point's."""
        if isinstance(self.found, Front):
            return self.found.log.front[self.found.middle].genome
        if self.found is not None:
            return self.found.log.chosen
        # the least error of a front's population is that of the schedule that prunes least
        return self.state.generations[-1].best_genome if self.state.generations and not self.options.front else None

    @property
    def removed(self) -> dict[str, float]:
        """Shares of the cost that the schedules looked at closely remove, by name."""
        if self.found is None:
            return {}
        if isinstance(self.found, Answer):
            log = self.found.log
            return {"uniform": log.uniform.removed, "searched": log.budget.achieved}
        uniform = {} if self.found.uniform is None else {"uniform": self.found.uniform.removed}
        return uniform | {"searched": self.found.pareto.points[self.found.middle].removed}

    def _require_one_search(self) -> None:
        models: dict[str, ModelIdentity] = {STATE_FILE: self.state.model}
        if isinstance(self.found, Answer):
            schedule, log = self.found.schedule, self.found.log
            models |= {LOG_FILE: log.model, SCHEDULE_FILE: schedule.model}
            _require_genomes(SCHEDULE_FILE, [schedule], [log.chosen])
        elif isinstance(self.found, Front):
            pareto, genomes = self.found.pareto, [point.genome for point in self.found.log.front]
            models |= {LOG_FILE: self.found.log.model, FRONT_FILE: pareto.model}
            _require_genomes(FRONT_FILE, [point.schedule for point in pareto.points], genomes)
        for name, model in models.items():
            if model != self.state.model:
                raise SearchError(
                    f"{name} is of another model than {STATE_FILE}",
                    expected=f"{self.state.model.class_name} {self.state.model.fingerprint[:16]}",
                    found=f"{model.class_name} {model.fingerprint[:16]}",
                )


def _answer(folder: Path) -> Answer | None:
    if not (folder / SCHEDULE_FILE).exists():
        return None
    return Answer(Log.load(folder / LOG_FILE), Schedule.load(folder / SCHEDULE_FILE))


def _front(folder: Path) -> Front | None:
    if not (folder / FRONT_FILE).exists():
        return None
    return Front(FrontLog.load(folder / LOG_FILE), ParetoFront.load(folder / FRONT_FILE))


def _require_genomes(name: str, schedules: list[Schedule], logged: list[Genome]) -> None:
    found = [schedule.provenance.get("genome") for schedule in schedules]
    expected = [list(genome) for genome in logged]
    if found != expected:
        apart = next((i for i, pair in enumerate(zip(found, expected, strict=False)) if pair[0] != pair[1]), None)
        raise SearchError(
            f"{name} and {LOG_FILE} are of different searches",
            expected=f"{len(expected)} schedules" if apart is None else f"the schedule of genome {expected[apart]}",
            found=f"{len(found)}" if apart is None else found[apart],
        )
