"""A load test from its scenario to its result: contenders are loaded one after the other, and all is judged."""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import time
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from diffes.bundle import Bundle
from diffes.documents import validated
from diffes.errors import LoadTestError
from diffes.files import write_text_atomically
from diffes.quality.features import FeatureExtractor
from loadtest.alone import measure_alone
from loadtest.contenders import Contender
from loadtest.contest import Contest
from loadtest.likeness import images_of, likeness
from loadtest.references import TOLERANCES, Comparison, compare_images, made_by_bundle, made_by_service
from loadtest.result import ContenderResult, Result, RunResult, this_machine
from loadtest.rows import Row, save_csv
from loadtest.run import IMAGES, Run
from loadtest.scenario import Scenario
from loadtest.target import Target
from loadtest.verdict import sentence, verdict

STATE, TABLE = "state.json", "rows.csv"


class Told(Protocol):
    """Hears how a load test goes on."""

    def phase(self, words: str) -> None:
        """Something that takes a moment begins."""

    def sending(self, run: Run) -> None:
        """Now and then while requests are sent."""

    def ran(self, result: RunResult) -> None:
        """A run is over."""


class State(BaseModel):
    """What a test keeps of itself to be gone on with: what it was asked, its requests' names, its unit in seconds."""

    model_config = ConfigDict(frozen=True)

    scenario: Scenario
    contenders: list[str]
    seed: int
    id: str
    began: str
    unit: float | None = None


@dataclass
class LoadTest:
    """`bundle` makes the images anew that were answered with, on `device`; without one the service itself does.

    `features` sees how far contenders' images are from the first one's.
    """

    name: str
    scenario: Scenario
    contenders: Sequence[Contender]
    out: Path
    seed: int
    told: Told
    bundle: Bundle | None = None
    device: str = "cpu"
    features: FeatureExtractor | None = None

    def run(self) -> Result:
        """Load one contender after the other. A test that was killed goes on where it was.

        LoadTestError if a service cannot be reached or started, or if the folder holds another test.
        """
        self._state = self._opened()
        tables: list[tuple[str, list[Row]]] = []
        results: list[ContenderResult] = []
        for place, contender in enumerate(self.contenders):
            found, rows = self._contend(place, contender)
            results.append(found)
            tables += rows
        save_csv(self.out / TABLE, tables)
        results = self._likened(results, tables)
        checks = verdict(results)
        result = Result(
            scenario=self.name,
            asked=self.scenario,
            seed=self.seed,
            unit=self._state.unit,
            began=self._state.began,
            machine=this_machine(self.device),
            contenders=results,
            checks=checks,
            verdict=sentence(checks),
            passed=all(check.holds for check in checks),
        )
        result.save(self.out)
        return result

    def _opened(self) -> State:
        """The state of a test that was begun here, or a new one."""
        path = self.out / STATE
        new = State(
            scenario=self.scenario,
            contenders=[contender.name for contender in self.contenders],
            seed=self.seed,
            id=f"lt-{secrets.token_hex(4)}",
            began=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        if not path.exists():
            self._save(new)
            return new
        known = validated(State, json.loads(path.read_text(encoding="utf-8")), STATE, LoadTestError)
        same = ("scenario", "contenders", "seed")
        if any(getattr(known, name) != getattr(new, name) for name in same):
            remedy = "Give another folder by --out, or ask for the same as there."
            found = f"another, begun {known.began}"
            raise LoadTestError(f"{self.out} is taken", expected="no test or this one", found=found, remedy=remedy)
        return known

    def _save(self, state: State) -> None:
        write_text_atomically(self.out / STATE, state.model_dump_json(indent=1) + "\n")

    def _contend(self, place: int, contender: Contender) -> tuple[ContenderResult, list[tuple[str, list[Row]]]]:
        folder = self.out / contender.name
        folder.mkdir(parents=True, exist_ok=True)
        self.told.phase(f"opening {contender.name}")
        scenario = self._of(contender)
        with contender.open(folder, not scenario.cold) as target:
            waited = None if target.service is None else time() - target.service.began
            info = {} if scenario.cold else target.info()
            contest = Contest(
                scenario=scenario.scaled(self._unit(target, scenario)) if scenario.unit == "alone" else scenario,
                target=target,
                root=self.out,
                folder=folder,
                id=f"{self._state.id}.{place}",
                seed=self.seed,
                labels=len(info["labels"]) if info else self._labels(),
                sending=self.told.sending,
                ran=self.told.ran,
            )
            sustained = contest.run()
        result = ContenderResult(
            name=contender.name,
            told={name: str(info[name]) for name in ("bundle", "model", "backend", "default") if name in info},
            start_seconds=None if scenario.cold else waited,
            runs=contest.runs,
            sustained=sustained,
            images=self._images(target, folder, [row for _, rows in contest.rows for row in rows]),
        )
        return result, contest.rows

    def _of(self, contender: Contender) -> Scenario:
        """The scenario, with the contender's schedule for all."""
        if contender.schedule is None:
            return self.scenario
        mix = self.scenario.mix.model_copy(update={"schedules": {contender.schedule: 1.0}})
        return self.scenario.model_copy(update={"mix": mix})

    def _unit(self, target: Target, scenario: Scenario) -> float:
        """The first contender's for all, so that all meet the same load."""
        if self._state.unit is None:
            self.told.phase("one request alone")
            self._state = self._state.model_copy(update={"unit": measure_alone(target, scenario.mix)})
            self._save(self._state)
        assert self._state.unit is not None
        return self._state.unit

    def _labels(self) -> int:
        if self.bundle is None:
            found = "a service that runs already"
            raise LoadTestError("a cold start needs a service to start", expected="--bundle", found=found)
        return len(self.bundle.labels)

    def _likened(
        self, results: Sequence[ContenderResult], tables: Sequence[tuple[str, list[Row]]]
    ) -> list[ContenderResult]:
        """Every contender's images beside the first one's."""
        if len(results) == 1 or self.features is None:
            return list(results)
        self.told.phase("comparing the contenders' images")
        made = [
            images_of(
                (row for run, rows in tables if run.startswith(f"{result.name}/") for row in rows),
                self.out / result.name / IMAGES,
            )
            for result in results
        ]
        first, *others = results
        return [first] + [
            result.model_copy(update={"likeness": likeness(first.name, images, made[0], self.features)})
            for result, images in zip(others, made[1:], strict=True)
        ]

    def _images(self, target: Target, folder: Path, rows: Sequence[Row]) -> Comparison | None:
        """Beside what they have to be, where few seeds were asked for."""
        if self.scenario.mix.seeds is None:
            return None
        self.told.phase("comparing images")
        guidance, images = self.scenario.mix.guidance, folder / IMAGES
        if self.bundle is not None:
            maker, name = made_by_bundle(self.bundle, self.device), f"torch on {self.device}, each alone"
            allowed = TOLERANCES[self.bundle.manifest.dtype]
        else:
            maker, name = made_by_service(target), "the service itself, each alone"
            allowed = TOLERANCES["bfloat16"]  # it does not say what it calculates in
        return compare_images(rows, guidance, images, maker, name, allowed)
