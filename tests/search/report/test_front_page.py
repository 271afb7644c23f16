"""The page of a front, finished and cut off."""

import json
import shutil
from pathlib import Path

import pytest

from diffes.checkpoint import Checkpoint
from diffes.errors import ScheduleError, SearchError
from diffes.pareto import ParetoFront
from search.report.page import make_report
from search.report.record import Front, Record
from search.state import SearchState
from tests.search.conftest import front_options
from tests.search.report.pages import copied, page_of, read
from tests.search.searching import search_front


@pytest.fixture(scope="module")
def front(tiny_checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report") / "front"
    search_front(tiny_checkpoint, front_options(generations=2), out)
    return out


def test_a_front_has_a_page_and_its_figures(front: Path, tiny_checkpoint: Checkpoint, tmp_path: Path) -> None:
    folder = copied(front, tmp_path / "front")
    page = page_of(folder, tiny_checkpoint, images=2)
    figures = {"pareto.png", "convergence.png", "levels.png", "errors.png", "samples.png"}
    assert {path.name for path in folder.glob("*.png")} == figures
    assert len(page.alts) == len(figures)
    assert not page.missing


def test_the_figures_are_those_of_the_files(front: Path, tmp_path: Path) -> None:
    folder = copied(front, tmp_path / "front")
    page, log, pareto = page_of(folder), read(folder / "search.json"), read(folder / "pareto.json")
    wanted = [p[name] for p in pareto["points"] + pareto["uniform"] for name in ("removed", "cost", "held_out")]
    wanted += [value for ratio in log["over_uniform"] for value in ratio.values()]
    wanted += [generation["typical_error"] for generation in log["generations"]]
    assert log["over_uniform"]
    assert {value for value in wanted if value is not None} <= set(page.values)


def test_the_command_of_the_page_exports_the_point_looked_at(front: Path, tmp_path: Path) -> None:
    folder = copied(front, tmp_path / "front")
    found = Record.load(folder).found
    assert isinstance(found, Front)
    text = page_of(folder).text
    share = text.partition("--schedule front/pareto.json@")[2].split()[0]
    assert ParetoFront.load(folder / "pareto.json").at(float(share)) == found.pareto.points[found.middle]


def test_the_point_looked_at_saves_no_less_than_the_uniform_one_beside_it(front: Path) -> None:
    removed = Record.load(front).removed
    assert set(removed) == {"uniform", "searched"}
    assert removed["searched"] >= min(removed["uniform"], 0.6)


def test_an_interrupted_front_says_what_is_missing(front: Path, tiny_checkpoint: Checkpoint, tmp_path: Path) -> None:
    folder = copied(front, tmp_path / "cut")
    for name in ("pareto.json", "search.json"):
        (folder / name).unlink()
    state = SearchState.load(folder)
    state.generations, state.stopped = state.generations[:1], None
    state.save(folder)
    page = page_of(folder, tiny_checkpoint)
    assert "Search of a Pareto front of pruning schedules, not finished" in page.text
    assert "diffes search --resume" in page.text
    assert page.missing == {"front", "convergence", "levels", "samples"}


def test_a_front_cut_by_its_time_limit_has_a_page(front: Path, tmp_path: Path) -> None:
    folder = copied(front, tmp_path / "front")
    log = read(folder / "search.json")
    (folder / "search.json").write_text(json.dumps(log | {"generations": [], "stopped": "time limit"}))
    page = page_of(folder)
    assert "The time limit came before the first generation was finished." in page.text
    assert page.missing == {"convergence", "samples"}


def test_a_front_without_uniform_schedules_is_looked_at_halfway(
    front: Path, tiny_checkpoint: Checkpoint, tmp_path: Path
) -> None:
    folder = copied(front, tmp_path / "front")
    pareto = ParetoFront.load(folder / "pareto.json")
    pareto.model_copy(update={"uniform": ()}).save(folder / "pareto.json")
    assert set(Record.load(folder).removed) == {"searched"}
    assert "samples" not in page_of(folder, tiny_checkpoint, images=1).missing


def test_a_front_and_a_log_of_different_searches_are_refused(front: Path, tmp_path: Path) -> None:
    folder = copied(front, tmp_path / "front")
    pareto = ParetoFront.load(folder / "pareto.json")
    pareto.model_copy(update={"points": pareto.points[:-1]}).save(folder / "pareto.json")
    with pytest.raises(SearchError, match=r"pareto\.json and search\.json are of different searches"):
        make_report(folder, None)


def test_a_malformed_front_is_refused(front: Path, tmp_path: Path) -> None:
    shutil.copytree(front, tmp_path / "front")
    (tmp_path / "front/pareto.json").write_text('{"format": 1, "points": []}')
    with pytest.raises(ScheduleError, match="malformed"):
        make_report(tmp_path / "front", None)
