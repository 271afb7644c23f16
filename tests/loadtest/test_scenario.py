"""A scenario is a file that says what is wrong with it; settings go before it, key by key."""

import re
from pathlib import Path

import pytest

from diffes.errors import LoadTestError
from loadtest.arrivals import Burst, Constant, Poisson, Trace
from loadtest.scenario import Scenario, load_scenario

TEXT = """
about = "Many come."
unit = "alone"
seconds = 60
patience = 30

[arrivals]
kind = "burst"
rate = 0.5
peak = 4
every = 20
lasting = 5

[mix]
seeds = 8
leave = 0.1
leave_after = [0.5, 2]
timeout = 6

[mix.schedules]
fast = 1
dense = 3

[mix.steps]
10 = 1
default = 1

[slo]
within = 4
share = 0.95

[search]
first = 0.25

[service]
max_queue = 16
"""
CONSTANT = 'about = "Even."\nseconds = 60\narrivals = {kind = "constant", rate = 2}\nslo = {within = 1}\n'


def scenario(folder: Path, text: str, *settings: str) -> Scenario:
    path = folder / "mine.toml"
    path.write_text(text)
    return load_scenario(str(path), settings)


def told(folder: Path, text: str, *settings: str) -> str:
    with pytest.raises(LoadTestError) as error:
        scenario(folder, text, *settings)
    return str(error.value)


def test_a_file_is_read_as_it_is_written(tmp_path: Path) -> None:
    found = scenario(tmp_path, TEXT)
    assert (found.about, found.unit, found.seconds, found.patience) == ("Many come.", "alone", 60.0, 30.0)
    assert found.arrivals == Burst(rate=0.5, peak=4, every=20, lasting=5)
    assert (found.mix.schedules, found.mix.steps) == ({"fast": 1.0, "dense": 3.0}, {10: 1.0, "default": 1.0})
    assert (found.slo.within, found.slo.share) == (4.0, 0.95)
    assert found.service == {"max_queue": 16}


def test_what_is_not_said_has_a_value(tmp_path: Path) -> None:
    found = scenario(tmp_path, CONSTANT)
    assert (found.unit, found.search, found.cold, found.requests) == ("second", None, False, None)
    assert found.arrivals == Constant(rate=2)


def test_a_setting_changes_its_key_and_no_other(tmp_path: Path) -> None:
    before, after = scenario(tmp_path, TEXT), scenario(tmp_path, TEXT, "arrivals.rate=2", "mix.leave=0")
    assert isinstance(before.arrivals, Burst)
    assert after.arrivals == before.arrivals.model_copy(update={"rate": 2.0})
    assert after.mix == before.mix.model_copy(update={"leave": 0.0})
    assert after.slo == before.slo


def test_weights_are_set_as_a_whole(tmp_path: Path) -> None:
    found = scenario(tmp_path, TEXT, "mix.schedules.uneven=1", "mix.steps={20=2}", "mix.images={2=1}", "mix.images.4=1")
    assert found.mix.schedules == {"uneven": 1.0}
    assert found.mix.steps == {20: 2.0}
    assert found.mix.images == {4: 1.0}
    assert found.mix.seeds == 8


@pytest.mark.parametrize(
    "settings",
    [['arrivals={kind="poisson", rate=3}'], ['arrivals.kind="poisson"', "arrivals.rate=3"]],
    ids=["in one", "in two"],
)
def test_another_kind_of_arrivals_takes_nothing_from_the_last(tmp_path: Path, settings: list[str]) -> None:
    assert scenario(tmp_path, TEXT, *settings).arrivals == Poisson(rate=3)


def test_what_is_set_last_holds(tmp_path: Path) -> None:
    assert scenario(tmp_path, TEXT, "seconds=1", "seconds=2").seconds == 2.0


def test_a_setting_may_be_of_what_the_file_does_not_say(tmp_path: Path) -> None:
    found = scenario(tmp_path, CONSTANT, "service.max_queue=4", "mix.images={2=1}", "search.first=3")
    assert found.service == {"max_queue": 4}
    assert found.mix.images == {2: 1.0}
    assert found.search is not None
    assert found.search.first == 3.0


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("arrivals.rate=0", "arrivals.burst.rate: expected .*greater than 0, found 0"),
        ('arrivals.kind="weekly"', "arrivals: expected .*'weekly'"),
        ("arrivals.lasting=20", "arrivals.burst: expected .*shorter than `every`"),
        ("mix.leave_after=[2, 1]", "mix: expected .*leave_after"),
        ("mix.steps={0=1}", "mix.steps.0"),
        ("mix.colour=1", "mix.colour: expected .*, found 1"),
        ("slo.share=2", "slo.share: expected .*, found 2"),
        ('unit="minute"', "unit: expected .*, found 'minute'"),
        ("cold=true", "the top: expected "),
        ('arrivals={kind="closed", users=2}', "the top: expected .*no search"),
    ],
)
def test_what_is_wrong_is_named_with_what_was_expected_and_found(tmp_path: Path, setting: str, words: str) -> None:
    message = told(tmp_path, TEXT, setting)
    assert message.startswith("scenario mine is malformed at ")
    assert re.search(words, message)
    assert "docs/loadtest.md" in message


def test_a_test_without_an_end_is_refused(tmp_path: Path) -> None:
    text = CONSTANT.replace("seconds = 60\n", "")
    assert "seconds, requests, or both" in told(tmp_path, text)
    assert scenario(tmp_path, text, "requests=10").requests == 10
    assert "where arrivals are closed" in told(tmp_path, text, "requests=10", 'arrivals={kind="closed", users=1}')


def test_a_setting_that_is_no_toml_is_named(tmp_path: Path) -> None:
    message = told(tmp_path, TEXT, "arrivals.kind=poisson")
    assert message.startswith("cannot set arrivals.kind=poisson: expected a TOML line")


@pytest.mark.parametrize("content", [b"about = ", b"\xff\xfe"], ids=["no TOML", "no text"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.toml"
    path.write_bytes(content)
    with pytest.raises(LoadTestError, match=r"broken.toml cannot be read: expected a TOML file, found "):
        load_scenario(str(path))


@pytest.mark.parametrize("name", ["no-such", "no/such", "no-such.toml"])
def test_a_scenario_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(LoadTestError, match=f"there is no scenario {name}: expected a TOML file or one of "):
        load_scenario(name)


TRACE = CONSTANT.replace('{kind = "constant", rate = 2}', '{kind = "trace", file = "times.txt"}')


def test_a_trace_s_times_may_be_in_a_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / "times.txt").write_text("0\n0.5\n4\n")
    assert scenario(tmp_path, TRACE).arrivals == Trace(at=(0.0, 0.5, 4.0))


@pytest.mark.parametrize("content", [None, "0\nsoon\n"], ids=["no file", "no numbers"])
def test_a_trace_s_file_that_cannot_be_read_is_named(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "times.txt").write_text(content)
    assert told(tmp_path, TRACE).startswith("times.txt cannot be read: expected seconds, a number a line, found ")


def test_in_seconds_every_time_and_rate_is_scaled(tmp_path: Path) -> None:
    found = scenario(tmp_path, TEXT).scaled(0.5)
    assert found.unit == "second"
    assert found.arrivals == Burst(rate=1, peak=8, every=10, lasting=2.5)
    assert (found.mix.leave_after, found.mix.timeout) == ((0.25, 1.0), 3.0)
    assert found.slo.within == 2.0
    assert found.search is not None
    assert found.search.first == 0.5
    assert (found.seconds, found.patience) == (60.0, 30.0)


def test_paced_arrivals_come_so_often_a_second(tmp_path: Path) -> None:
    found = scenario(tmp_path, TEXT).scaled(0.5).paced(7)
    assert isinstance(found.arrivals, Burst)
    assert found.arrivals.mean == pytest.approx(7)


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [([], 60.0), (["requests=30"], 15.0), (["requests=1000"], 60.0), (['arrivals={kind="closed", users=1}'], 60.0)],
    ids=["by time", "by requests", "by what is first", "closed"],
)
def test_a_test_ends_by_time_or_by_requests(tmp_path: Path, settings: list[str], seconds: float) -> None:
    assert scenario(tmp_path, CONSTANT, *settings).duration == seconds
