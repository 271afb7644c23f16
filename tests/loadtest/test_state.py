"""A test that was begun goes on if the same is asked of it, and another is not mixed with it."""

import json
from datetime import datetime
from pathlib import Path

import pytest

from diffes.errors import LoadTestError
from loadtest.scenario import Scenario, load_scenario, shipped
from loadtest.state import FILE, State

STEADY = load_scenario("steady")
NAMES = ["service"]


def test_a_new_test_is_written_down(tmp_path: Path) -> None:
    folder = tmp_path / "out" / "test"
    state = State.opened(folder, STEADY, NAMES, 7)
    assert (state.scenario, state.contenders, state.seed, state.unit) == (STEADY, NAMES, 7, None)
    assert datetime.fromisoformat(state.began).utcoffset() is not None
    assert [path.name for path in folder.iterdir()] == [FILE]
    assert State.model_validate_json((folder / FILE).read_text()) == state


def test_requests_of_two_tests_are_called_differently(tmp_path: Path) -> None:
    ids = {State.opened(tmp_path / str(number), STEADY, NAMES, 7).id for number in range(20)}
    assert len(ids) == 20
    assert all(found.startswith("lt-") and "." not in found for found in ids)


@pytest.mark.parametrize("name", shipped())
def test_the_same_test_goes_on(tmp_path: Path, name: str) -> None:
    scenario = load_scenario(name)
    first = State.opened(tmp_path, scenario, ["dense", "fast"], 7)
    assert State.opened(tmp_path, load_scenario(name), ("dense", "fast"), 7) == first


def test_what_it_has_measured_is_known_when_it_goes_on(tmp_path: Path) -> None:
    first = State.opened(tmp_path, STEADY, NAMES, 7)
    measured = first.measured(tmp_path, 0.1 + 0.2)
    assert measured == first.model_copy(update={"unit": 0.1 + 0.2})
    assert State.opened(tmp_path, STEADY, NAMES, 7) == measured


@pytest.mark.parametrize(
    "settings",
    [
        ["mix.steps={10=2, default=1}", "mix.images={1=1, 4=1}", "mix.leave_after=[0.5, 2]"],
        ['arrivals={kind="trace", at=[0, 0.5, 4]}'],
        ["service.max_queue=16", "service.max_backlog=inf", 'service.policy="x"', "service.stall_seconds=0.5"],
        ["search.first=0.1", "search.factor=1.1"],
    ],
    ids=["counted", "trace", "settings", "search"],
)
def test_every_scenario_is_known_again(tmp_path: Path, settings: list[str]) -> None:
    first = State.opened(tmp_path, load_scenario("steady", settings), NAMES, 7)
    assert State.opened(tmp_path, load_scenario("steady", settings), NAMES, 7) == first


@pytest.mark.parametrize(
    ("scenario", "contenders", "seed"),
    [
        (load_scenario("steady", ["arrivals.rate=0.71"]), NAMES, 7),
        (STEADY, ["service", "other"], 7),
        (STEADY, NAMES, 8),
    ],
    ids=["scenario", "contenders", "seed"],
)
def test_another_test_is_refused_and_changes_nothing(
    tmp_path: Path, scenario: Scenario, contenders: list[str], seed: int
) -> None:
    state = State.opened(tmp_path, STEADY, NAMES, 7)
    with pytest.raises(LoadTestError) as error:
        State.opened(tmp_path, scenario, contenders, seed)
    assert str(error.value) == (
        f"{tmp_path} is taken: expected no test or this one, found another, begun {state.began}."
        " Give another folder by --out, or ask for the same as there."
    )
    assert State.opened(tmp_path, STEADY, NAMES, 7) == state


@pytest.mark.parametrize("text", ["", '{"scenario": ', "\udcff"], ids=["empty", "cut", "no text"])
def test_a_file_that_is_no_json_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text, errors="surrogateescape")
    with pytest.raises(LoadTestError, match=rf"{FILE} cannot be read: expected JSON, found .*--out"):
        State.opened(tmp_path, STEADY, NAMES, 7)


def test_an_entry_that_is_wrong_is_named(tmp_path: Path) -> None:
    State.opened(tmp_path, STEADY, NAMES, 7)
    document = json.loads((tmp_path / FILE).read_text())
    for damaged, where in ((document | {"seed": "x"}, "seed"), ([], "the top")):
        (tmp_path / FILE).write_text(json.dumps(damaged))
        with pytest.raises(LoadTestError, match=rf"{FILE} is malformed at {where}: "):
            State.opened(tmp_path, STEADY, NAMES, 7)
