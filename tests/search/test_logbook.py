from io import StringIO
from math import inf
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from diffes.schedule import ModelIdentity
from search.evolution import Moment
from search.logbook import Logbook
from search.progress import Reporter
from search.state import SearchState
from tests.search.conftest import small_options

MODEL = ModelIdentity.model_validate({"class": "DiTTransformer2DModel", "fingerprint": "ab" * 32})
RANDOM: dict[str, Any] = {"numpy": ["MT19937", [1, 2], 3, 0, 0.0]}


@pytest.fixture
def log(tmp_path: Path) -> Logbook:
    return again(SearchState(options=small_options(), model=MODEL, code="c0de", budget="b0d6"), tmp_path)


def again(state: SearchState, out: Path) -> Logbook:
    return Logbook(state, out, Reporter(Console(file=StringIO())), dense_macs=10)


def test_what_was_saved_is_there_after_a_restart(log: Logbook) -> None:
    log.memo("all").add((1, 2), 0.5)
    log.evaluations.add("table", 30)
    log.save(now=True)
    found = again(SearchState.load(log.out), log.out)
    assert found.memo("all").entries() == [((1, 2), 0.5)]
    assert found.evaluations.total == 3


def test_a_moment_comes_back_as_it_was_recorded(log: Logbook) -> None:
    moment = Moment(3, [(1, 2), (2, 2)], 9, [inf, 0.25], RANDOM)
    log.record(moment)
    assert again(SearchState.load(log.out), log.out).moment() == moment


def test_a_generation_counts_those_judged_on_all_probes(log: Logbook) -> None:
    log.record(Moment(0, [(1,), (2,), (3,)], 3, [0.5, inf, 0.25]))
    log.record(Moment(1, [(1,)], 4, [inf]))
    first, second = log.state.generations
    assert (first.best, first.mean, first.best_genome) == (0.25, 0.375, (3,))
    assert (second.best, second.mean) == (None, None)


def test_saving_again_at_once_waits(log: Logbook) -> None:
    log.save(now=True)
    log.memo("all").add((1,), 0.5)
    log.save()
    assert SearchState.load(log.out).memos == {}
    log.save(now=True)
    assert SearchState.load(log.out).memos == {"all": [((1,), 0.5)]}


def test_a_phase_is_shown_and_timed(log: Logbook) -> None:
    with log.phase("table") as advance:
        advance(0.5)
    assert log.state.seconds["table"] >= 0
