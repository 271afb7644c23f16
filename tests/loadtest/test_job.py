"""A load test asks the same of all its contenders, and goes on where it was when it was killed."""

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from diffes.bundled import bundled_features
from diffes.errors import InvalidInput, LoadTestError
from diffes.quality.features import FeatureExtractor
from loadtest.faults import Fault, Happened
from loadtest.mix import Mix
from loadtest.plan import Plan
from loadtest.result import Result
from loadtest.target import Target
from tests.loadtest.jobs import Heard, MadeUp, Opened, job, scenario, searching
from tests.loadtest.telling import INFO


@pytest.fixture(autouse=True)
def runs(monkeypatch: pytest.MonkeyPatch) -> MadeUp:
    """What runs the plans."""
    made = MadeUp()
    monkeypatch.setattr("loadtest.contest.run_trial", made)
    monkeypatch.setattr(Target, "info", lambda _: INFO | {"bundle": "b1", "backend": "torch"})
    return made


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Mix]:
    """The mixes of which one request alone was measured; it takes half a second."""
    mixes: list[Mix] = []

    def measure(_: Target, mix: Mix, _texts: Sequence[str]) -> float:
        mixes.append(mix)
        return 0.5

    monkeypatch.setattr("loadtest.job.measure_alone", measure)
    return mixes


@pytest.fixture
def opened() -> Opened:
    return Opened()


def held_below(rate: float) -> Callable[[Plan], bool]:
    return lambda plan: not hasattr(plan.arrivals, "rate") or plan.arrivals.rate < rate


def asked(plan: Plan) -> list[Any]:
    """What its requests ask for."""
    return [call.asked for call in plan.calls()]


def test_one_run_is_judged_and_all_of_it_is_in_files(tmp_path: Path, opened: Opened) -> None:
    heard = Heard()
    result = job(tmp_path, scenario(), opened.contender("service"), heard=heard).run()
    assert (result.passed, result.scenario, result.unit, result.seed) == (True, "mine", None, 7)
    assert result.verdict.startswith("PASS: answered within 2 s of when due: 100.00% of 10")
    (contender,) = result.contenders
    assert contender.told == {"bundle": "b1", "backend": "torch", "default": "fast"}
    assert [run.folder for run in contender.runs] == ["service/01"] == [run.folder for run in heard.runs]
    assert Result.load(tmp_path) == result
    with (tmp_path / "rows.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert [(row["run"], int(row["number"])) for row in rows] == [("service/01", number) for number in range(10)]


def test_a_run_that_is_too_slow_fails_the_test(tmp_path: Path, opened: Opened, runs: MadeUp) -> None:
    runs.holds = lambda _: False
    result = job(tmp_path, scenario(), opened.contender("service")).run()
    assert not result.passed
    assert result.verdict.startswith("FAIL: answered within 2 s of when due: 0.00% of 10")


def test_several_are_loaded_one_after_the_other_with_the_same_requests(
    tmp_path: Path, opened: Opened, runs: MadeUp
) -> None:
    who = [opened.contender(name, name) for name in ("dense", "fast")]
    mix = Mix(stream=0.5, images={1: 1, 2: 1}, leave=0.5)
    result = job(tmp_path, scenario(mix=mix), *who).run()
    assert opened.names == opened.closed == ["dense", "fast"]
    first, second = (asked(plan) for plan in runs.plans)
    assert {one.schedule for one in first} == {"dense"}
    assert {one.schedule for one in second} == {"fast"}
    assert [vary(one) for one in first] == [vary(one) for one in second]
    assert [check.name.partition(":")[0] for check in result.checks if "within" in check.name] == ["dense", "fast"]


def vary(one: Any) -> tuple[Any, ...]:
    """Of a request, all but its schedule."""
    return (one.label, one.seed, one.images, one.stream, one.leaves)


def test_every_run_of_a_search_has_requests_of_its_own_and_contenders_share_them_by_its_number(
    tmp_path: Path, opened: Opened, runs: MadeUp
) -> None:
    runs.holds = held_below(3.0)
    result = job(tmp_path, searching(), opened.contender("a"), opened.contender("b")).run()
    one, other = ([plan for plan in runs.plans if plan.id.split(".")[1] == place] for place in "01")
    assert len(one) > 3
    assert [plan.seed for plan in one] == [8 + number for number in range(len(one))]
    assert [plan.model_dump(exclude={"id"}) for plan in one] == [plan.model_dump(exclude={"id"}) for plan in other]
    assert len({plan.id for plan in runs.plans}) == len(runs.plans)
    assert len({plan.id.split(".")[0] for plan in runs.plans}) == 1
    for contender in result.contenders:
        assert contender.sustained is not None
        assert contender.sustained.confirmed
        assert 2 <= (contender.sustained.rate or 0) < 3


def test_another_seed_asks_for_something_else(tmp_path: Path, opened: Opened, runs: MadeUp) -> None:
    for seed in (7, 8):
        job(tmp_path / str(seed), scenario(), opened.contender("service"), seed=seed).run()
    first, second = runs.plans
    assert asked(first) != asked(second)


def test_the_unit_is_the_first_contender_s_and_measured_once(
    tmp_path: Path, opened: Opened, runs: MadeUp, measured: list[Mix]
) -> None:
    heard = Heard()
    who = [opened.contender(name, name) for name in ("dense", "fast")]
    result = job(tmp_path, scenario(unit="alone"), *who, heard=heard).run()
    assert result.unit == 0.5
    assert [mix.schedules for mix in measured] == [{"dense": 1.0}]
    assert [plan.arrivals.rate for plan in runs.plans] == [2.0, 2.0]  # type: ignore[union-attr]
    assert [promised.name for run in heard.runs for promised in run.promised if "within" in promised.name] == [
        "answered within 1 s of when due"
    ] * 2


def test_without_a_unit_nothing_is_measured(tmp_path: Path, opened: Opened, measured: list[Mix]) -> None:
    assert job(tmp_path, scenario(), opened.contender("service")).run().unit is None
    assert measured == []


def test_whoever_starts_cold_is_neither_waited_for_nor_asked_before(
    tmp_path: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch, tiny_bundle: Any, runs: MadeUp
) -> None:
    monkeypatch.delattr(Target, "info")
    result = job(tmp_path, scenario(cold=True), opened.contender("service"), bundle=tiny_bundle).run()
    assert opened.waited == [False]
    assert result.contenders[0].start_seconds is None
    assert runs.plans[0].labels == len(tiny_bundle.labels)


def test_others_are_waited_for(tmp_path: Path, opened: Opened, runs: MadeUp) -> None:
    job(tmp_path, scenario(), opened.contender("service")).run()
    assert opened.waited == [True]
    assert runs.plans[0].labels == len(INFO["labels"])


def test_a_schedule_that_a_running_service_has_not_is_named_before_it_is_loaded(
    tmp_path: Path, opened: Opened, runs: MadeUp
) -> None:
    with pytest.raises(InvalidInput, match="invalid compare: expected dense, fast, found slow"):
        job(tmp_path, scenario(), opened.contender("slow", "slow")).run()
    assert runs.plans == []


FAULTS = (Fault(kind="kill-worker", at=2), Fault(kind="pause-worker", at=5, lasting=1))
TOLD = Happened("kill-worker", 2.1, 2.1, "killed worker 3")


def test_faults_are_made_and_told(tmp_path: Path, opened: Opened, runs: MadeUp) -> None:
    runs.happened = [TOLD, Happened("pause-worker", 5.1, 6.3, "stopped worker 3")]
    result = job(tmp_path, scenario(faults=FAULTS), opened.contender("service")).run()
    assert runs.faults == [FAULTS]
    told = ["2.1 to 2.1 s: killed worker 3", "5.1 to 6.3 s: stopped worker 3"]
    assert result.contenders[0].runs[0].happened == told
    assert result.passed


def test_a_fault_that_did_not_happen_fails_the_test(tmp_path: Path, opened: Opened, runs: MadeUp) -> None:
    runs.happened = [TOLD]
    result = job(tmp_path, scenario(faults=FAULTS), opened.contender("service")).run()
    assert result.verdict == "FAIL: faults that did not happen: 1 (asked: 0 at most)."


def test_a_killed_test_goes_on_with_the_contender_it_was_at(
    tmp_path: Path, opened: Opened, runs: MadeUp, measured: list[Mix]
) -> None:
    who = [opened.contender(name) for name in ("a", "b", "c")]
    test = job(tmp_path, scenario(unit="alone"), *who)
    runs.holds = lambda plan: ".1." not in plan.id or interrupt()
    with pytest.raises(KeyboardInterrupt):
        test.run()
    runs.holds = lambda _: True
    result = job(tmp_path, scenario(unit="alone"), *who).run()
    assert opened.names == ["a", "b", "b", "c"]
    assert opened.closed == ["a", "b", "b", "c"]
    assert len(measured) == 1
    assert len({plan.id.split(".")[0] for plan in runs.plans}) == 1
    assert [contender.name for contender in result.contenders] == ["a", "b", "c"]
    assert result.passed


def interrupt() -> bool:
    raise KeyboardInterrupt


def test_another_test_in_the_same_folder_is_refused(tmp_path: Path, opened: Opened) -> None:
    job(tmp_path, scenario(), opened.contender("service")).run()
    with pytest.raises(LoadTestError, match="is taken"):
        job(tmp_path, searching(), opened.contender("service")).run()


def test_what_another_bundle_came_to_is_not_taken_for_this_one_s(tmp_path: Path, opened: Opened) -> None:
    old, new = (replace(opened.contender("service"), what=f"of bundle {number}") for number in range(2))
    job(tmp_path, scenario(), old).run()
    with pytest.raises(LoadTestError, match="is taken"):
        job(tmp_path, scenario(), new).run()


def test_the_images_of_others_are_laid_beside_the_first_ones(tmp_path: Path, opened: Opened) -> None:
    extractor = FeatureExtractor.load(bundled_features())
    who = [opened.contender(name) for name in ("a", "b")]
    first, second = job(tmp_path, scenario(), *who, features=extractor).run().contenders
    assert first.likeness is None
    assert second.likeness is not None
    assert second.likeness.of == "a"
    assert json.loads((tmp_path / "b" / "contender.json").read_text())["likeness"] is None
