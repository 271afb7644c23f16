"""Load tests that are killed: what they had started ends, and started again with the same words they go on."""

import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from diffes.errors import Overloaded
from loadtest.result import Result
from loadtest.rows import load_rows
from loadtest.run import ROWS
from tests.loadtest.answers import refuse
from tests.loadtest.commandline import Running, setting
from tests.loadtest.instant import instant
from tests.loadtest.processes import runs
from tests.loadtest.server import Exchange, Server, serving
from tests.serving.waiting import wait_for

pytestmark = pytest.mark.alone

START_SECONDS = 120
FULL = Overloaded("full", reason="queue_full", expected="room", found="none")
SEARCH = """
about = "Which of 20, 40, 80 requests a second are borne?"
seconds = 1
arrivals = { kind = "constant", rate = 1 }
slo = { within = 5 }
search = { first = 20, factor = 2, until = 2.5 }
"""

Begin = Callable[..., Running]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Begins a test in one and the same folder; it and what it has started are ended with ours."""
    begun: list[Running] = []

    def started(*arguments: object) -> Running:
        begun.append(Running.begin(tmp_path / "test", *arguments))
        return begun[-1]

    yield started
    for each in begun:
        each.kill()


def run_of(exchange: Exchange) -> str:
    """The number of the run that a request is of; none for what is not of a run."""
    return exchange.headers.get("x-client-request-id", "..-").split(".")[2].split("-")[0]


def names_of(server: Server, run: str) -> Counter[str]:
    """How often each of its requests was sent."""
    return Counter(seen.headers["x-client-request-id"] for seen in server.seen if run_of(seen) == run)


def sent_by(folder: Path) -> list[psutil.Process]:
    """Locust, as it runs for this folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any(str(folder) in part for part in process.info["cmdline"] or []) and "locust" in process.info["cmdline"]:
            found.append(process)
    return found


def test_a_search_goes_on_where_it_was_killed_and_is_whole(begin: Begin, tmp_path: Path) -> None:
    follow = instant()

    async def third_is_too_much(exchange: Exchange) -> None:
        if run_of(exchange) == "3":
            refuse(exchange, FULL)
        else:
            await follow(exchange)

    (tmp_path / "search.toml").write_text(SEARCH)
    with serving(third_is_too_much) as server:
        asked = (tmp_path / "search.toml", "--url", server.url)
        for run, number in (("2", signal.SIGKILL), ("3", signal.SIGTERM)):
            test = begin(*asked)
            wait_for(lambda run=run: names_of(server, run), START_SECONDS)  # type: ignore[misc]
            assert test.end(number) == {signal.SIGKILL: -9, signal.SIGTERM: 143}[number]
            wait_for(lambda: not any(map(runs, sent_by(tmp_path / "test"))))
        last = begin(*asked)
        assert last.end() == 0, last.said.read_text()
        for run, most in (("1", 1), ("2", 2), ("3", 2), ("4", 1)):
            assert max(names_of(server, run).values()) == most
    result = Result.load(tmp_path / "test")
    (contender,) = result.contenders
    assert [(run.rate, run.held) for run in contender.runs] == [(20, True), (40, True), (80, False), (40, True)]
    assert contender.sustained is not None
    assert (contender.sustained.rate, contender.sustained.limit, contender.sustained.confirmed) == (40, 80, True)
    rows = [row for run in contender.runs for row in load_rows(tmp_path / "test" / run.folder / ROWS)]
    assert len(rows) == 20 + 40 + 80 + 40
    assert (tmp_path / "test" / "rows.csv").read_text().count("\n") == 1 + len(rows)


def test_a_killed_test_leaves_nothing_for_long_and_an_ended_one_nothing_at_all(
    begin: Begin, tiny_bundle_folder: Path, tmp_path: Path
) -> None:
    rows = tmp_path / "test" / "service" / "01" / ROWS
    asked = ("smoke", "--bundle", tiny_bundle_folder, "--threads", 1, *setting("seconds=600", "mix.steps={100=1}"))
    killed = begin(*asked)
    wait_for(lambda: rows.exists() and rows.stat().st_size, START_SECONDS)
    left = killed.family()
    assert len(left) >= 4  # the test, the service, a worker, locust
    killed.end(signal.SIGKILL)
    rows.unlink()
    ended = begin(*asked)
    wait_for(lambda: rows.exists() and rows.stat().st_size, START_SECONDS)
    assert not any(map(runs, left))
    left = ended.family()
    assert len(left) >= 4
    assert ended.end(signal.SIGTERM) == 128 + signal.SIGTERM
    assert not any(map(runs, left))
    assert "Traceback" not in ended.said.read_text()
