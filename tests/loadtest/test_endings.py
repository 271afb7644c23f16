"""What a service logs of its requests is what a load test reads of them, and nothing else is taken for it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import diffes.engine.observer as engine
from diffes.engine.request import Origin, ResolvedRequest, StageTiming, Timings
from diffes.serving.logs import Formatter, log_ending
from diffes.sizes import Size
from loadtest.endings import Ending, read_endings
from tests.prompting import of_label

RUN = "lt-1.1"
seconds = st.floats(0, 1e6)
stages = st.builds(
    StageTiming,
    stage=st.integers(0, 9),
    subgraph=st.just("step0"),
    steps=st.integers(1, 1000),
    seconds=seconds,
    mean_batch=st.floats(1, 64),
    began=seconds,
    ended=seconds,
)
timings = st.builds(Timings, seconds, seconds, st.lists(stages, max_size=3).map(tuple))
outcomes: st.SearchStrategy[engine.Outcome] = st.sampled_from(["done", "failed", "cancelled", "expired", "rejected"])
TIMES = Timings(0.5, 2.0, ())


def ended(
    name: str, outcome: engine.Outcome = "done", reason: str = "", timings: Timings = TIMES, request_id: str = "img-1"
) -> engine.Ending:
    request = ResolvedRequest(
        prompt=of_label(0),
        seed=0,
        images=1,
        steps=4,
        guidance=1.5,
        schedule="fast",
        size=Size(8, 8),
        id=request_id,
        origin=Origin(client_id=name),
    )
    return engine.Ending(request, outcome, timings, 4, reason)


@contextmanager
def logging_to(path: Path) -> Iterator[logging.Logger]:
    """Everything that Diffes logs meanwhile goes to the file, as a service writes it."""
    handler, logger = logging.FileHandler(path), logging.getLogger("diffes")
    handler.setFormatter(Formatter())
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield logger
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
        handler.close()


def log_of(folder: Path, *endings: engine.Ending) -> Path:
    path = folder / "service.log"
    path.unlink(missing_ok=True)
    with logging_to(path):
        for ending in endings:
            log_ending(ending)
    return path


def names(log: Path, run: str = RUN) -> list[str]:
    return [ending.name for ending in read_endings(log, run)]


@given(outcomes, st.sampled_from(["", "queue_full", "left"]), timings)
def test_a_logged_end_is_read_back_to_a_microsecond(
    tmp_path_factory: pytest.TempPathFactory, outcome: engine.Outcome, reason: str, timings: Timings
) -> None:
    log = log_of(tmp_path_factory.getbasetemp(), ended("lt-1.1-5", outcome, reason, timings, "img-7"))
    assert read_endings(log, RUN) == [
        Ending(
            name="lt-1.1-5",
            request_id="img-7",
            outcome=outcome,
            reason=reason,
            queue_seconds=round(timings.queue_seconds, 6),
            total_seconds=round(timings.total_seconds, 6),
            stages=tuple((stage.stage, stage.steps, round(stage.seconds, 6)) for stage in timings.stages),
        )
    ]


def test_ends_are_read_in_the_order_of_the_log_each_as_often_as_it_is_there(tmp_path: Path) -> None:
    log = log_of(tmp_path, *(ended(f"lt-1.1-{number}") for number in (2, 0, 10, 2)))
    assert names(log) == ["lt-1.1-2", "lt-1.1-0", "lt-1.1-10", "lt-1.1-2"]


def test_requests_of_other_runs_and_of_others_are_passed_over(tmp_path: Path) -> None:
    log = log_of(tmp_path, *(ended(name) for name in ("lt-1.1-5", "lt-1.11-5", "lt-1.1", "", "x-lt-1.1-5", "lt-1-1-5")))
    assert names(log) == ["lt-1.1-5"]
    assert names(log, "lt-1.11") == ["lt-1.11-5"]
    assert names(log, "lt-1.2") == []


def test_lines_that_tell_of_no_request_s_end_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "service.log"
    path.write_bytes(
        b'starting\n\n[1, 2]\n"lt-1.1-1"\n  {"outcome": "done"}\n{}\n\xff\xfe{"a": 1}\n{"outcome": "done"}\n'
    )
    with logging_to(path) as logger:
        logger.info("request %s is near", "lt-1.1-1", extra={"client_request_id": "lt-1.1-1"})
        try:
            raise ValueError('{"outcome": "done",\n{"outcome": "done"}')
        except ValueError:
            logger.exception("lt-1.1-2 failed")
        log_ending(ended("lt-1.1-3"))
    assert names(path) == ["lt-1.1-3"]


def test_a_line_that_was_cut_off_is_passed_over_wherever_it_was_cut(tmp_path: Path) -> None:
    first, second = log_of(tmp_path, ended("lt-1.1-1", reason="größe"), ended("lt-1.1-2")).read_bytes().splitlines()
    log = tmp_path / "cut.log"
    for kept in range(len(first)):
        log.write_bytes(first[:kept] + b"\n" + second + b"\n")
        assert names(log) == ["lt-1.1-2"]
        log.write_bytes(second + b"\n" + first[:kept])
        assert names(log) == ["lt-1.1-2"]


def test_a_last_line_is_read_without_its_end(tmp_path: Path) -> None:
    log = log_of(tmp_path, ended("lt-1.1-1"))
    log.write_bytes(log.read_bytes().rstrip())
    assert names(log) == ["lt-1.1-1"]


def test_two_lines_in_one_are_passed_over(tmp_path: Path) -> None:
    log = log_of(tmp_path, ended("lt-1.1-1"), ended("lt-1.1-2"))
    log.write_bytes(log.read_bytes().replace(b"\n", b"", 1))
    assert names(log) == []


def test_an_empty_log_has_no_ends_and_a_missing_one_is_an_error(tmp_path: Path) -> None:
    assert read_endings(log_of(tmp_path), RUN) == []
    with pytest.raises(FileNotFoundError):
        read_endings(tmp_path / "other.log", RUN)
