"""What goes wrong on purpose does so at its time and is over at its time, or it is told why it cannot be."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from pydantic import ValidationError

from diffes.errors import LoadTestError
from loadtest import faults
from loadtest.faults import Fault, Faults, Happened, load_happened
from loadtest.relay import Relay
from loadtest.service import Service
from loadtest.target import Target
from tests.serving.waiting import wait_for

NOWHERE = Target("http://127.0.0.1:1")
KILL = Fault(kind="kill-worker", at=2)
PAUSE = Fault(kind="pause-worker", at=2, lasting=3)
FILL = Fault(kind="fill-disk", at=1, lasting=4)
CUT = Fault(kind="cut-triton", at=3, lasting=1)

WORKER, ENGINE = "_bentoml_impl.worker.service", "diffes.serving.engine_process"

PARENT = """
import os, subprocess, sys, time
command = [sys.executable, "-c", "import time; time.sleep(600)"]
subprocess.Popen([*command, "another"])
for process in range(2):
    for module in ("_bentoml_impl.worker.service", "diffes.serving.engine_process"):
        subprocess.Popen([*command, module])
        time.sleep(0.05)
while True:
    os.wait()
"""


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    """A service of two workers, two engines and one more process, of which none serves."""
    service = Service.launch([sys.executable, "-c", PARENT], 1, tmp_path / "log", environment={})
    try:
        wait_for(lambda: len(running(service, ENGINE)) == 2, 60)
        yield Target(service.url, service=service)
    finally:
        service.kill()


def running(service: Service, module: str) -> list[psutil.Process]:
    """From the oldest on."""
    found = [each for each in service.processes() if module in _words(each)]
    return sorted(found, key=lambda process: process.create_time())


def _words(process: psutil.Process) -> list[str]:
    try:
        words: list[str] = process.cmdline()
    except psutil.NoSuchProcess:
        return []
    return words


def of(target: Target, module: str = WORKER) -> list[psutil.Process]:
    """Its workers, or what else it runs."""
    assert target.service is not None
    return running(target.service, module)


def is_stopped(process: psutil.Process) -> bool:
    return bool(process.status() == psutil.STATUS_STOPPED)


class Disk:
    """What is done to a disk."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        monkeypatch.setattr(faults, "fill", lambda _: self.done.append("fill"))
        monkeypatch.setattr(faults, "empty", lambda _: self.done.append("empty"))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def with_disk(target: Target = NOWHERE) -> Target:
    return replace(target, disk=Path("disk"))


def test_a_fault_begins_when_it_is_due_and_ends_when_it_is_over(disk: Disk) -> None:
    going = Faults([FILL], with_disk())
    seen = []
    for now in (0.0, 0.9, 1.25, 3.0, 5.0, 5.25, 9.0):
        going.at(now)
        seen.append(list(disk.done))
    assert seen == [[], [], ["fill"], ["fill"], ["fill"], ["fill", "empty"], ["fill", "empty"]]
    told = "filled the disk that the service writes to"
    assert going.happened == [Happened("fill-disk", began=1.25, ended=5.25, told=told)]


def test_whatever_the_order_in_which_they_are_told_the_first_is_made_first(disk: Disk) -> None:
    later = Fault(kind="fill-disk", at=7, lasting=1)
    going = Faults([later, FILL], with_disk())
    for now in range(10):
        going.at(now)
    assert [(each.began, each.ended) for each in going.happened] == [(1, 5), (7, 8)]
    assert disk.done == ["fill", "empty"] * 2


def test_several_may_go_on_at_once(target: Target, disk: Disk) -> None:
    going = Faults([PAUSE, FILL], with_disk(target))
    for now in (1, 2, 4.9, 5, 5.1):
        going.at(now)
    assert sorted((each.kind, each.began, each.ended) for each in going.happened) == [
        ("fill-disk", 1, 5),
        ("pause-worker", 2, 5),
    ]
    assert disk.done == ["fill", "empty"]


def test_what_has_not_ended_does_so_with_the_run(disk: Disk) -> None:
    going = Faults([FILL, Fault(kind="fill-disk", at=8, lasting=1)], with_disk())
    going.at(2)
    going.end(3)
    going.end(4)
    assert disk.done == ["fill", "empty"]
    assert [(each.began, each.ended) for each in going.happened] == [(2, 3)]


def test_the_oldest_worker_is_killed(target: Target) -> None:
    first, second = of(target)
    going = Faults([KILL], target)
    going.at(2)
    wait_for(lambda: of(target) == [second])
    assert going.happened == [Happened("kill-worker", 2, 2, f"killed worker {first.pid}")]


def test_the_oldest_engine_is_paused_and_killed(target: Target) -> None:
    first, second = of(target, ENGINE)
    going = Faults([Fault(kind="pause-engine", at=1, lasting=1), Fault(kind="kill-engine", at=3)], target)
    going.at(1)
    wait_for(lambda: is_stopped(first))
    for now in (2, 3):
        going.at(now)
    wait_for(lambda: of(target, ENGINE) == [second])
    assert len(of(target)) == 2
    told = [f"stopped engine {first.pid} (SIGSTOP)", f"killed engine {first.pid}"]
    assert [each.told for each in going.happened] == told


def test_a_paused_worker_stands_still_and_goes_on(target: Target) -> None:
    first, second = of(target)
    going = Faults([PAUSE], target)
    going.at(2)
    wait_for(lambda: is_stopped(first))
    assert not is_stopped(second)
    going.at(5)
    wait_for(lambda: not is_stopped(first))
    assert going.happened == [Happened("pause-worker", 2, 5, f"stopped worker {first.pid} (SIGSTOP)")]


def test_a_paused_worker_goes_on_if_the_run_ends_early_and_whatever_another_fault_says(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Path) -> None:
        raise OSError("no disk")

    monkeypatch.setattr(faults, "fill", lambda _: None)
    monkeypatch.setattr(faults, "empty", broken)
    going = Faults([PAUSE, FILL, Fault(kind="fill-disk", at=3, lasting=9)], with_disk(target))
    going.at(4)
    wait_for(lambda: is_stopped(of(target)[0]))
    with pytest.raises(OSError, match="no disk"):
        going.end(5)
    wait_for(lambda: not is_stopped(of(target)[0]))


def test_a_paused_worker_that_somebody_has_ended_meanwhile_is_no_failure(target: Target) -> None:
    going = Faults([PAUSE, Fault(kind="kill-worker", at=3)], target)
    for now in (2, 3):
        going.at(now)
    wait_for(lambda: len(of(target)) == 1)
    going.at(5)
    assert [each.kind for each in going.happened] == ["kill-worker", "pause-worker"]


def test_a_relay_is_cut_and_mended() -> None:
    done: list[str] = []

    class Cut(Relay):
        def __init__(self) -> None:
            pass

        def cut(self) -> None:
            done.append("cut")

        def mend(self) -> None:
            done.append("mend")

    going = Faults([CUT], replace(NOWHERE, relay=Cut()))
    going.at(3)
    assert done == ["cut"]
    going.at(4)
    assert done == ["cut", "mend"]
    assert going.happened == [Happened("cut-triton", 3, 4, "cut the way to the Triton server")]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (
            KILL,
            "a fault of the worker cannot be made: expected a service that was started for the test .*, found none",
        ),
        (
            PAUSE,
            "a fault of the worker cannot be made: expected a service that was started for the test .*, found none",
        ),
        (FILL, "fill-disk cannot be made: expected a service that was started on a small disk .*, found none"),
        (CUT, "cut-triton cannot be made: expected .* Triton server .*--backend triton.*, found none"),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else "",
)
def test_what_cannot_be_done_to_a_target_is_told_before_it_is_loaded_and_again_then(fault: Fault, words: str) -> None:
    going = Faults([fault], NOWHERE)
    for ask in (going.require_possible, lambda: going.at(9)):
        with pytest.raises(LoadTestError, match=words):
            ask()


def test_a_service_without_a_worker_has_none_to_kill(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    ended = Target("", service=Service(process, "", tmp_path))
    with pytest.raises(LoadTestError, match="a fault of the worker cannot be made"):
        Faults([KILL], ended).require_possible()


def test_what_can_be_done_is_not_done_by_asking(target: Target, disk: Disk) -> None:
    going = Faults([KILL, PAUSE, FILL], with_disk(target))
    going.require_possible()
    assert (len(of(target)), disk.done, going.happened) == (2, [], [])


@pytest.mark.parametrize("fault", [{"kind": "kill-engine", "at": 1, "lasting": 2}, {"kind": "pause-worker", "at": 1}])
def test_only_what_is_killed_comes_back_by_itself(fault: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="how long it is `lasting`"):
        Fault.model_validate(fault)


@pytest.mark.parametrize("wrong", [{"at": -1}, {"at": "soon"}, {"at": 1, "worker": 2}, {"kind": "flood", "at": 1}])
def test_a_fault_that_is_none_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Fault.model_validate({"kind": "kill-worker"} | wrong)


def test_what_happened_survives_its_file(tmp_path: Path) -> None:
    going = Faults(
        [], NOWHERE, [Happened("kill-worker", 2.5, 2.5, "killed 1"), Happened("fill-disk", 0.1, 9, "filled")]
    )
    going.save(tmp_path / "faults.jsonl")
    assert load_happened(tmp_path / "faults.jsonl") == going.happened


def test_where_there_is_no_file_nothing_happened(tmp_path: Path) -> None:
    assert load_happened(tmp_path / "faults.jsonl") == []
    Faults([], NOWHERE).save(tmp_path / "faults.jsonl")
    assert load_happened(tmp_path / "faults.jsonl") == []
