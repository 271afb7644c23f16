"""A run is kept as files, and what is read back of them is what was seen; one that is whole is not run again."""

from dataclasses import dataclass, replace
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from diffes.errors import LoadTestError
from loadtest import trial as module
from loadtest.agreement import compared, disagreements
from loadtest.arrivals import Closed, Poisson
from loadtest.faults import Fault
from loadtest.findings import find
from loadtest.mix import Mix
from loadtest.plan import Plan
from loadtest.run import IMAGES, Run
from loadtest.scenario import Slo
from loadtest.target import Target
from loadtest.trial import Trial, run_trial
from tests.loadtest.server import Exchange, serving
from tests.loadtest.telling import metrics, telling
from tests.loadtest.trials import row, trial

MIX = Mix(seeds=6, steps={2: 1, 4: 1}, images={1: 3, 2: 1}, stream=0.3, previews=1, leave=0.1, leave_after=(0.0, 0.05))
SILENT = telling({"/metrics": 404})
PAUSE = Fault(kind="pause-worker", at=0.5, lasting=0.5)


def plan(**other: Any) -> Plan:
    whole = Plan(id="lt-0.1", seed=1, arrivals=Poisson(rate=30), seconds=3, mix=MIX, labels=10, patience=30)
    return whole.model_copy(update=other)


SHORT = plan(id="lt-0.2", seconds=0.5, mix=Mix())


@dataclass
class Done:
    """A run that was, at the real service."""

    trial: Trial
    folder: Path
    told: list[tuple[bool, int]]  # over or not, and how many rows


@pytest.fixture(scope="module")
def done(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder, told = tmp_path_factory.mktemp("test") / "run", list[tuple[bool, int]]()
    found = run_trial(plan(), target, folder, lambda run: told.append((run.over, len(run.rows()))), [PAUSE])
    return Done(found, folder, told)


def test_a_trial_from_its_folder_is_the_one_that_was_run(done: Done) -> None:
    assert Trial.load(done.folder) == done.trial


def test_all_that_was_planned_was_sent_and_seen(done: Done) -> None:
    found = done.trial
    assert found.plan == plan()
    assert sorted(row.number for row in found.rows) == [call.number for call in plan().calls()]
    assert found.planned == len(found.rows)
    assert {row.fate for row in found.rows} <= {"answered", "left"}
    assert len({digest for row in found.rows for digest in row.digests}) == len(
        list((done.folder.parent / IMAGES).iterdir())
    )


def test_a_real_service_tells_the_same_as_its_callers(done: Done) -> None:
    assert disagreements(done.trial) == []
    assert compared(done.trial).count(",") == 3
    assert done.trial.endings is not None
    assert len(done.trial.endings) >= sum(row.fate == "answered" for row in done.trial.rows) > 30


def test_what_the_run_added_is_told_whoever_came_before(done: Done) -> None:
    answered = [row for row in done.trial.rows if row.fate == "answered"]
    assert done.trial.added is not None
    assert done.trial.added.total("diffes_requests_total", status="done") >= len(answered)
    calls = done.trial.added.by("diffes_step_seconds_count", "schedule")
    assert (calls["mixed",] > 0, calls["dense",]) == (True, 0)
    stages = find(done.trial, Slo(within=1)).stages
    assert sum(stage.seconds for stage in stages) > 0


def test_it_was_watched_from_its_beginning(done: Done) -> None:
    at = [sample.at for sample in done.trial.samples]
    assert at[0] <= done.trial.began <= at[-1]
    assert all(sample.resident for sample in done.trial.samples)
    assert done.trial.settled


def test_what_went_wrong_on_purpose_is_told(done: Done) -> None:
    (happened,) = done.trial.happened
    assert happened.kind == "pause-worker"
    assert 0.5 <= happened.began <= happened.ended - 0.5


def test_its_progress_is_told_until_all_rows_are_there(done: Done) -> None:
    assert done.told[0][0] is False
    assert done.told[-1] == (True, len(done.trial.rows))
    counts = [count for _, count in done.told]
    assert counts == sorted(counts)


def test_only_what_was_logged_meanwhile_is_kept(done: Done, target: Target) -> None:
    assert target.log is not None
    assert "serving bundle" in target.log.read_text()
    assert "serving bundle" not in (done.folder / "endings.jsonl").read_text()


def never(*_: object) -> Any:
    pytest.fail("it was run again")


def test_a_whole_trial_of_the_same_plan_is_not_run_again(done: Done, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "sending", never)
    assert run_trial(plan(), Target("http://127.0.0.1:1"), done.folder) == done.trial


@pytest.mark.parametrize(
    ("asked", "missing"), [(plan(), "whole.json"), (SHORT, "locust.log")], ids=["not whole", "another plan"]
)
def test_any_other_is_run_anew_and_nothing_of_it_is_left(done: Done, tmp_path: Path, asked: Plan, missing: str) -> None:
    folder = Path(copytree(done.folder, tmp_path / "run"))
    (folder / missing).unlink()
    with serving(SILENT) as server:
        found = run_trial(asked, Target(server.url), folder)
    names = {exchange.headers.get("x-client-request-id") for exchange in server.seen}
    assert names >= {asked.name(row.number) for row in found.rows if row.fate == "answered"}
    assert found == Trial.load(folder)
    assert found.plan == asked
    assert len(found.rows) == found.planned == len(list(asked.calls()))
    assert (found.before, found.after, found.added) == (None, None, None)
    assert (found.endings, found.settled, found.happened) == (None, None, [])
    assert all(sample.waiting is sample.resident is None for sample in found.samples)
    assert compared(found) == "each answer's own times"


def test_a_folder_without_a_whole_trial_has_none(done: Done, tmp_path: Path) -> None:
    assert Trial.load(tmp_path) is None
    folder = Path(copytree(done.folder, tmp_path / "run"))
    assert Trial.load(folder) == done.trial
    (folder / "whole.json").unlink()
    assert Trial.load(folder) is None


def test_a_fault_that_cannot_be_made_changes_nothing(done: Done, tmp_path: Path) -> None:
    folder = Path(copytree(done.folder, tmp_path / "run"))
    with pytest.raises(LoadTestError, match="a fault of the worker cannot be made"):
        run_trial(SHORT, Target("http://127.0.0.1:1"), folder, faults=[PAUSE])
    assert Trial.load(folder) == done.trial


def test_a_generator_that_is_ended_makes_no_trial_and_leaves_none(done: Done, tmp_path: Path) -> None:
    folder = Path(copytree(done.folder, tmp_path / "run"))

    def end(run: Run) -> None:
        if run.began is not None and not run.over:
            run.process.kill()

    with serving(SILENT) as server, pytest.raises(LoadTestError, match="locust did not send the requests"):
        run_trial(plan(seconds=600), Target(server.url), folder, end)
    assert Trial.load(folder) is None


def test_a_log_that_is_not_there_is_told_before_anything_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "sending", never)
    target = Target("http://127.0.0.1:1", log=tmp_path / "service.log")
    with pytest.raises(LoadTestError, match=r"the service's log cannot be read: .*service.log"):
        run_trial(SHORT, target, tmp_path)


def test_planned_is_what_was_due_or_in_a_closed_loop_what_was_sent() -> None:
    rows = [row(0), row(1)]
    assert trial(rows).planned == 10
    closed = trial(rows).plan.model_copy(update={"arrivals": Closed(users=2)})
    assert replace(trial(rows), plan=closed).planned == 2


BUSY, IDLE = metrics(queue_depth=0, images_running=2), metrics(queue_depth=0, images_running=0)


@pytest.mark.parametrize(
    ("pages", "told", "settled"),
    [
        ([IDLE], True, True),
        ([BUSY, BUSY, IDLE], True, True),
        ([503, BUSY, IDLE], True, True),
        ([BUSY, IDLE], False, True),
        ([BUSY] * 1000, True, False),
        ([503] * 1000, True, False),
        ([404], False, None),
    ],
    ids=["idle", "in a moment", "comes back", "told late", "never", "gone", "does not say"],
)
def test_a_service_settles_or_does_not(
    monkeypatch: pytest.MonkeyPatch, pages: list[object], told: bool, settled: bool | None
) -> None:
    monkeypatch.setattr(module, "_POLL_SECONDS", 0.001)
    monkeypatch.setattr(module, "_SETTLE_SECONDS", 60 if settled else 0.5)
    coming = iter(pages)

    async def script(exchange: Exchange) -> None:
        await telling({"/metrics": next(coming)})(exchange)

    with serving(script) as server:
        assert module._settled(Target(server.url), told) is settled
