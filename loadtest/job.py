"""A load test from its scenario to its result: contenders are loaded one after the other, and all is judged."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import Any, Protocol

from diffes.bundle import Bundle
from diffes.errors import InvalidInput
from diffes.files import write_text_atomically
from diffes.quality.features import FeatureExtractor
from loadtest.alone import measure_alone
from loadtest.contenders import Contender
from loadtest.contest import Contest
from loadtest.likeness import images_of, likeness
from loadtest.references import TOLERANCES, Comparison, compare_images, made_by_bundle, made_by_service
from loadtest.result import ContenderResult, Result, RunResult, this_machine
from loadtest.rows import Row, load_rows, save_csv
from loadtest.run import IMAGES, ROWS, Run
from loadtest.scenario import Scenario
from loadtest.state import State
from loadtest.target import Target
from loadtest.verdict import sentence, verdict

TABLE, RESULT_OF_ONE = "rows.csv", "contender.json"


class Told(Protocol):
    """Hears how a load test goes on."""

    def phase(self, words: str) -> None:
        """Something that takes a moment begins."""

    def sending(self, run: Run) -> None:
        """Now and then while requests are sent."""

    def ran(self, result: RunResult) -> None:
        """A run is over."""


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
        names = [f"{contender.name} {contender.what}".rstrip() for contender in self.contenders]
        self._state = State.opened(self.out, self.scenario, names, self.seed)
        results = [self._contend(place, contender) for place, contender in enumerate(self.contenders)]
        save_csv(self.out / TABLE, ((run.folder, self._rows(run)) for result in results for run in result.runs))
        results = self._likened(results)
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

    def _contend(self, place: int, contender: Contender) -> ContenderResult:
        """Its result, or what it was before the test was killed."""
        path = self.out / contender.name / RESULT_OF_ONE
        if path.exists():
            return ContenderResult.model_validate_json(path.read_text(encoding="utf-8"))
        path.parent.mkdir(parents=True, exist_ok=True)
        self.told.phase(f"opening {contender.name}")
        scenario = self._of(contender)
        with contender.open(path.parent, not scenario.cold) as target:
            started = None if target.service is None or scenario.cold else time() - target.service.began
            info = {} if scenario.cold else target.info()
            if info and contender.schedule not in (None, *info["schedules"]):
                raise InvalidInput("compare", expected=", ".join(info["schedules"]), found=contender.schedule)
            contest = Contest(
                scenario=scenario.scaled(self._unit(target, scenario, info)) if scenario.unit == "alone" else scenario,
                target=target,
                root=self.out,
                folder=path.parent,
                id=f"{self._state.id}.{place}",
                seed=self.seed,
                labels=len(info["labels"] if info else self._bundle().labels),
                texts=tuple(info["texts"] if info else self._bundle().manifest.texts),
                sending=self.told.sending,
                ran=self.told.ran,
            )
            sustained = contest.run()
        result = ContenderResult(
            name=contender.name,
            told={name: str(info[name]) for name in ("bundle", "model", "backend", "default") if name in info},
            start_seconds=started,
            runs=contest.runs,
            sustained=sustained,
            images=self._images(target, contest, path.parent / IMAGES),
        )
        write_text_atomically(path, result.model_dump_json(indent=1) + "\n")
        return result

    def _rows(self, run: RunResult) -> list[Row]:
        return load_rows(self.out / run.folder / ROWS)

    def _of(self, contender: Contender) -> Scenario:
        """The scenario, with the contender's schedule for all."""
        if contender.schedule is None:
            return self.scenario
        mix = self.scenario.mix.model_copy(update={"schedules": {contender.schedule: 1.0}})
        return self.scenario.model_copy(update={"mix": mix})

    def _unit(self, target: Target, scenario: Scenario, info: dict[str, Any]) -> float:
        """The first contender's for all, so that all meet the same load."""
        if self._state.unit is None:
            self.told.phase("one request alone")
            self._state = self._state.measured(self.out, measure_alone(target, scenario.mix, info.get("texts", ())))
        assert self._state.unit is not None
        return self._state.unit

    def _bundle(self) -> Bundle:
        assert self.bundle is not None  # what is not started for the test has no cold start
        return self.bundle

    def _likened(self, results: Sequence[ContenderResult]) -> list[ContenderResult]:
        """Every contender's images beside the first one's."""
        if len(results) == 1 or self.features is None:
            return list(results)
        self.told.phase("comparing the contenders' images")
        made = [
            images_of((row for run in result.runs for row in self._rows(run)), self.out / result.name / IMAGES)
            for result in results
        ]
        first, *others = results
        return [first] + [
            result.model_copy(update={"likeness": likeness(first.name, images, made[0], self.features)})
            for result, images in zip(others, made[1:], strict=True)
        ]

    def _images(self, target: Target, contest: Contest, images: Path) -> Comparison | None:
        """Beside what they have to be, where few seeds were asked for."""
        if self.scenario.mix.seeds is None:
            return None
        self.told.phase("comparing images")
        rows = [row for run in contest.runs for row in self._rows(run)]
        guidance = self.scenario.mix.guidance
        if self.bundle is not None:
            maker, name = made_by_bundle(self.bundle, self.device), f"torch on {self.device}, each alone"
            allowed = TOLERANCES[self.bundle.manifest.dtype]
        else:
            maker, name = made_by_service(target, contest.texts), "the service itself, each alone"
            allowed = TOLERANCES["bfloat16"]  # it does not say what it calculates in
        return compare_images(rows, guidance, images, maker, name, allowed)
