"""A search folder as it was left: finished or interrupted, here or on another machine."""

from dataclasses import dataclass
from pathlib import Path

from diffes.errors import SearchError
from diffes.pruning.calibration import CALIBRATION_FILE
from diffes.schedule import ModelIdentity, Schedule
from search.genome import Genome
from search.options import SearchOptions
from search.report.documents import Log, Pareto, Table
from search.report.layout import Layout
from search.state import LOG_FILE, SCHEDULE_FILE, STATE_FILE, TABLE_FILE, SearchState

PARETO_FILE = "pareto.json"


@dataclass(frozen=True)
class Record:
    """What the files say; `log` and `schedule` are None until a search is finished, `table` until it is measured."""

    folder: Path
    state: SearchState
    table: Table | None
    log: Log | None
    schedule: Schedule | None
    pareto: Pareto | None

    @classmethod
    def load(cls, folder: Path) -> "Record":
        """Read a folder; SearchError if it holds no search, or files of different ones."""
        if not (folder / STATE_FILE).exists():
            raise SearchError(
                f"{folder} holds no search",
                expected=f"a folder with {STATE_FILE}, written by `diffes search --out`",
                found="other files" if folder.is_dir() and any(folder.iterdir()) else "nothing",
            )
        finished = (folder / SCHEDULE_FILE).exists()
        record = cls(
            folder=folder,
            state=SearchState.load(folder),
            table=Table.load(folder / TABLE_FILE) if (folder / TABLE_FILE).exists() else None,
            log=Log.load(folder / LOG_FILE) if finished else None,
            schedule=Schedule.load(folder / SCHEDULE_FILE) if finished else None,
            pareto=Pareto.load(folder / PARETO_FILE) if (folder / PARETO_FILE).exists() else None,
        )
        record._require_one_search()
        return record

    @property
    def options(self) -> SearchOptions:
        """What was asked for."""
        return self.state.options

    @property
    def calibration(self) -> Path:
        """The calibration the search worked with."""
        return self.folder / CALIBRATION_FILE

    @property
    def layout(self) -> Layout | None:
        """Where a genome's levels belong; None before the table says how blocks are grouped."""
        if self.table is None:
            return None
        tied = self.options.widths == "tied" or self.options.depth == "alone"
        return Layout(self.table.parts, tuple(self.table.groups), tuple(self.table.executed_steps), tied)

    @property
    def dense_macs(self) -> int | None:
        """MACs of one row of one dense step, which is one evaluation; None before the table is written."""
        return None if self.table is None else self.table.dense_macs

    @property
    def best(self) -> Genome | None:
        """The chosen genome, or the best so far of an interrupted search."""
        if self.log is not None:
            return self.log.chosen
        return self.state.generations[-1].best_genome if self.state.generations else None

    def _require_one_search(self) -> None:
        models: dict[str, ModelIdentity] = {STATE_FILE: self.state.model}
        if self.log is not None and self.schedule is not None:
            models |= {LOG_FILE: self.log.model, SCHEDULE_FILE: self.schedule.model}
            genome = self.schedule.provenance.get("genome")
            if genome != list(self.log.chosen):
                raise SearchError(
                    f"{SCHEDULE_FILE} and {LOG_FILE} are of different searches",
                    expected=f"the schedule of genome {list(self.log.chosen)}",
                    found=genome,
                )
        if self.pareto is not None:
            models[PARETO_FILE] = self.pareto.model
        for name, model in models.items():
            if model != self.state.model:
                raise SearchError(
                    f"{name} is of another model than {STATE_FILE}",
                    expected=f"{self.state.model.class_name} {self.state.model.fingerprint[:16]}",
                    found=f"{model.class_name} {model.fingerprint[:16]}",
                )
