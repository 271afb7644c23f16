"""What a search knows so far, in one JSON file that is whole at any moment: a killed search goes on from it."""

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from diffes.errors import SearchError
from diffes.files import remove_unfinished, write_text_atomically
from diffes.schedule import ModelIdentity
from search.genome import Genome
from search.options import SearchOptions

STATE_FILE = "checkpoint.json"
TABLE_FILE = "table.json"
LOG_FILE = "search.json"
SCHEDULE_FILE = "schedule.json"
FRONT_FILE = "pareto.json"


class Generation(BaseModel):
    """One finished generation. `schedules` counts the genomes seen since the start and `evaluations` the denoising,
    in dense row-steps; `best` and `mean` are of those judged on all probes, None if all failed."""

    model_config = ConfigDict(extra="forbid")

    number: int
    best: float | None
    mean: float | None
    schedules: int
    evaluations: float
    seconds: float
    best_genome: Genome


class SearchState(BaseModel):
    """Everything `--resume` needs, and what it must be resumed under: options, model, code and the budget's digest.

    `table` may hold inf; `memos` hold None for a rollout that failed, by the key of what they are objectives of;
    `population`, its `objectives` (None: failed or turned away) and `random` (PyGAD's generators) are of the last
    generation; `evaluations` count MACs by phase.
    """

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="constants")

    format: Literal[2] = 2
    options: SearchOptions
    model: ModelIdentity
    code: str
    budget: str
    table: dict[str, float] = Field(default_factory=dict)
    memos: dict[str, list[tuple[Genome, float | None]]] = Field(default_factory=dict)
    evaluations: dict[str, int] = Field(default_factory=dict)
    generations: list[Generation] = Field(default_factory=list)
    population: list[Genome] = Field(default_factory=list)
    objectives: list[float | None] = Field(default_factory=list)
    random: JsonValue = None
    seconds: dict[str, float] = Field(default_factory=dict)
    stopped: Literal["generations", "time limit"] | None = None

    def save(self, folder: Path) -> None:
        """Write the state file."""
        write_text_atomically(folder / STATE_FILE, self.model_dump_json() + "\n")

    @classmethod
    def load(cls, folder: Path) -> "SearchState":
        """Read the state file; SearchError if it is not one."""
        path = folder / STATE_FILE
        try:
            document = json.loads(path.read_text())
            if not isinstance(document, dict) or document.get("format") != 2:
                raise ValueError(f"format {document.get('format') if isinstance(document, dict) else None!r}")
            return cls.model_validate(document)
        except (OSError, ValueError, ValidationError) as error:
            raise SearchError(
                f"cannot read the search's state {path}",
                expected="a checkpoint of format 2 written by this version",
                found=str(error)[:300],
                remedy="Search into an empty folder.",
            ) from error


def open_state(folder: Path, new: SearchState, *, resume: bool) -> SearchState:
    """The `new` state in an empty folder, or the one to resume.

    SearchError for a folder that holds something else, and for a resume under other options, model, budget or code.
    """
    present = sorted(path.name for path in folder.glob("*") if not path.name.startswith("."))
    if STATE_FILE not in present:
        if present:
            raise SearchError(
                f"{folder} holds files of something else",
                expected="an empty folder or an earlier search to resume",
                found=", ".join(present[:5]),
                remedy="Give another folder.",
            )
        return new
    if not resume:
        raise SearchError(
            f"{folder} already holds a search",
            expected="an empty folder",
            found=", ".join(present[:5]),
            remedy="Go on with it by --resume, or give another folder.",
        )
    state = SearchState.load(folder)
    _require_same(state, new)
    remove_unfinished(folder)
    return state


def _require_same(state: SearchState, new: SearchState) -> None:
    difference = state.options.difference(new.options)
    if difference:
        raise SearchError(
            "the search to resume has other options",
            expected="the options it began with",
            found=difference,
            remedy="Resume with the same options, or search into another folder.",
        )
    if state.model != new.model:
        raise SearchError(
            "the search to resume is of another model",
            expected=f"{state.model.class_name} {state.model.fingerprint[:16]}",
            found=f"{new.model.class_name} {new.model.fingerprint[:16]}",
            remedy="Search the changed model into another folder.",
        )
    for what, ours, theirs in (("code", state.code, new.code), ("costs", state.budget, new.budget)):
        if ours != theirs:
            raise SearchError(
                f"the search to resume began with other {what}",
                expected=f"{what} of digest {ours[:16]}",
                found=theirs[:16],
                remedy="What it knows may no longer hold: search into another folder.",
            )
