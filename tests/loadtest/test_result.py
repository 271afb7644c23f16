"""A result is all in its file, and what is no result says so."""

import json
from pathlib import Path
from platform import python_version

import pytest

from diffes import __version__
from diffes.errors import LoadTestError
from loadtest.result import RESULT, Result, this_machine
from tests.loadtest.results import COMPARISON, contender, findings, likeness, result, run, sustained

BAD = findings(fates={"answered": 8, "failed": 2})
RICH = result(
    contender("dense", run(), run("dense/02", BAD, ("they differ",)), sustained=sustained(0.1 + 0.2, confirmed=True)),
    contender("fast", images=COMPARISON, likeness=likeness(0.125)),
    contender("slow", sustained=sustained(None, confirmed=False), likeness=likeness(None)),
)


@pytest.mark.parametrize("made", [result(), RICH, result(unit=None)], ids=["plain", "rich", "in seconds"])
def test_a_result_survives_its_file(tmp_path: Path, made: Result) -> None:
    made.save(tmp_path)
    assert Result.load(tmp_path) == made


def test_steps_are_numbers_again_or_left_to_the_service(tmp_path: Path) -> None:
    result().save(tmp_path)
    mix = Result.load(tmp_path).asked.mix
    assert list(mix.steps.items()) == [("default", 1.0), (10, 2.0)]
    assert list(mix.images.items()) == [(1, 3.0), (4, 1.0)]


def test_a_setting_without_an_end_survives_its_file(tmp_path: Path) -> None:
    scenario = result().asked.model_copy(update={"service": {"max_backlog": float("inf"), "max_queue": 16}})
    made = result(asked=scenario)
    made.save(tmp_path)
    assert Result.load(tmp_path) == made


def test_in_time_is_told_in_seconds() -> None:
    assert result().slo == 1.0
    assert result(unit=None).slo == 2.0


def test_a_run_has_held_if_it_kept_all_that_was_promised() -> None:
    assert run().held
    assert run(disagreements=("they differ",)).held
    assert not run(found=BAD).held


def test_a_folder_without_a_test_is_named(tmp_path: Path) -> None:
    with pytest.raises(LoadTestError, match=f"no load test in {tmp_path}: expected {RESULT}, found no such file"):
        Result.load(tmp_path)


@pytest.mark.parametrize("text", ["", '{"format": 1, ', "\udcff"], ids=["empty", "cut", "no text"])
def test_a_file_that_is_no_json_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / RESULT).write_text(text, errors="surrogateescape")
    with pytest.raises(LoadTestError, match=rf"{RESULT} cannot be read: expected JSON, found .*Run the test again"):
        Result.load(tmp_path)


@pytest.mark.parametrize("document", [{}, {"format": 2}, [], None, {"format": "1"}])
def test_a_format_that_is_not_known_is_refused(tmp_path: Path, document: object) -> None:
    (tmp_path / RESULT).write_text(json.dumps(document))
    with pytest.raises(LoadTestError, match=rf"{RESULT} has an unknown format: expected format 1.*Run the test again"):
        Result.load(tmp_path)


def test_an_entry_that_is_wrong_is_named(tmp_path: Path) -> None:
    result().save(tmp_path)
    document = json.loads((tmp_path / RESULT).read_text())
    document["contenders"][0]["runs"][0]["rate"] = "fast"
    (tmp_path / RESULT).write_text(json.dumps(document))
    with pytest.raises(LoadTestError, match=r"malformed at contenders.0.runs.0.rate: .*found 'fast'"):
        Result.load(tmp_path)


def test_a_machine_is_told_with_what_runs_on_it() -> None:
    told = this_machine("cpu")
    assert (told["python"], told["diffes"]) == (python_version(), __version__)
    assert int(told["cores"]) >= 1
    assert {"device", "platform", "torch", "locust"} <= told.keys()
    assert "onnxruntime" in told or "onnxruntime-gpu" in told
