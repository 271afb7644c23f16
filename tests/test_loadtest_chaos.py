"""What goes wrong on purpose, with real processes: every request is told its fate, and every image is right.

All tests run at the same time: each waits most of the time for somebody who starts again.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from diffes.bundle import Bundle
from diffes.errors import LoadTestError
from export.triton import wrap_bundle
from loadtest.disk import small_disk
from loadtest.result import RunResult
from tests.loadtest.commandline import Running, setting, sound
from tests.tritonserver import HOSTING, Server

pytestmark = pytest.mark.alone

ANYHOW = ("slo.share=0", "slo.failed=1")  # how many are served meanwhile is the machine's affair
KILL = '{kind="kill-worker", at=4}'
KILL_ENGINE = '{kind="kill-engine", at=4}'
PAUSE = '{kind="pause-engine", at=3, lasting=4}'
FILL = '{kind="fill-disk", at=3, lasting=20}'  # a worker takes its time to get as far as its files


@dataclass
class Chaos:
    """Tests under way, by their names."""

    root: Path
    bundle: Path
    running: dict[str, Running] = field(default_factory=dict)

    def begin(self, name: str, scenario: str, settings: Sequence[str], *options: object) -> None:
        told = setting(*settings, *ANYHOW)
        self.running[name] = Running.begin(self.root / name, scenario, "--bundle", self.bundle, *told, *options)

    def came_to(self, name: str) -> RunResult:
        """The run of a test that has passed."""
        running = self.running[name]
        assert running.end() == 0, running.said.read_text()
        return sound(self.root / name)[1]


@pytest.fixture(scope="module")
def chaos(tiny_bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chaos]:
    made = Chaos(tmp_path_factory.mktemp("chaos"), tiny_bundle_folder)
    one = ("--threads", 1)
    made.begin("kill", "kill-worker", ["seconds=22", f"faults=[{KILL}]"], *one)
    made.begin("kill of two", "kill-worker", ["seconds=16", f"faults=[{KILL}]"], *one, "--workers", 2)
    made.begin("kill engine", "kill-engine", ["seconds=16", f"faults=[{KILL_ENGINE}]"], *one)
    made.begin("pause", "pause-engine", ["seconds=14", f"faults=[{PAUSE}]"], *one)
    # it goes on longest, beside all that the others start: how promptly requests are sent is the machine's affair too
    made.begin("disk", "full-disk", ["seconds=30", "slo.within=60", f"faults=[{FILL}, {KILL}]"], *one)
    yield made
    for running in made.running.values():
        running.kill()


def test_a_triton_server_that_is_out_of_reach_is_found_again(
    chaos: Chaos, start_triton: Callable[[Path], Server], tiny_bundle: Bundle, tmp_path: Path
) -> None:
    wrap_bundle(tiny_bundle, tmp_path / "repository", hosting=HOSTING)
    server = start_triton(tmp_path / "repository")
    short, long = '{kind="cut-triton", at=3, lasting=2}', '{kind="cut-triton", at=8, lasting=5}'
    device = f"{server.address}?patience=3"
    chaos.begin(
        "triton", "cut-triton", ["seconds=20", f"faults=[{short}, {long}]"], "--backend", "triton", "--device", device
    )
    run = chaos.came_to("triton")
    assert [told.partition(": ")[2] for told in run.happened] == ["cut the way to the Triton server"] * 2
    assert run.findings.fates["failed"] > 0
    server.kill()


def test_a_killed_worker_comes_back(chaos: Chaos) -> None:
    run = chaos.came_to("kill")
    assert [told.partition(":")[2].rpartition(" ")[0] for told in run.happened] == [" killed worker"]
    assert run.findings.fates["refused"] + run.findings.fates["failed"] > 0


def test_a_killed_engine_comes_back_and_no_connection_breaks(chaos: Chaos) -> None:
    run = chaos.came_to("kill engine")
    assert [told.partition(":")[2].rpartition(" ")[0] for told in run.happened] == [" killed engine"]
    assert run.findings.fates["refused"] + run.findings.fates["failed"] > 0
    assert "connection lost" not in " ".join(run.findings.reasons)


def test_of_two_workers_one_is_killed_and_the_other_goes_on(chaos: Chaos) -> None:
    run = chaos.came_to("kill of two")
    assert len(run.happened) == 1
    assert run.findings.in_time > 0.5


def test_while_an_engine_stands_still_everybody_waits_and_nobody_is_lost(chaos: Chaos) -> None:
    run = chaos.came_to("pause")
    assert run.findings.fates["failed"] == 0
    assert run.findings.latency is not None
    assert run.findings.latency.most > 2


def test_a_worker_that_has_to_start_on_a_full_disk_does_so_once_there_is_room(chaos: Chaos, tmp_path: Path) -> None:
    try:
        with small_disk(tmp_path / "disk"):
            pass
    except LoadTestError as reason:
        pytest.skip(str(reason))
    run = chaos.came_to("disk")
    assert sorted(told.split(": ")[1].split()[0] for told in run.happened) == ["filled", "killed"]
    log = chaos.root / "disk" / "service" / "service.log"
    assert "metrics cannot be written: expected 8 MiB of room" in log.read_text()
