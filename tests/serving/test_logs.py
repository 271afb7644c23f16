"""A line for every request's end."""

import json
import logging
from datetime import datetime
from typing import Any

import pytest

from diffes.serving.logs import Formatter, log_ending
from diffes.serving.origin import request_id
from tests.serving.endings import ending


def fields(record: logging.LogRecord) -> dict[str, Any]:
    line = Formatter().format(record)
    assert "\n" not in line
    told: dict[str, Any] = json.loads(line)
    return told


def test_a_request_s_end_is_one_line_with_everything_that_makes_it_again(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "diffes"):
        log_ending(ending(client_id="order-7", schedule="fast"), "0af7")
    (record,) = caplog.records
    told = fields(record)
    assert datetime.fromisoformat(told.pop("time")).utcoffset() is not None
    assert told.pop("message").startswith("request img-1 done: schedule mixed, label 8, n 1, seed 4294967295, 4 steps")
    stages = told.pop("stages")
    assert [(stage["stage"], stage["subgraph"], stage["seconds"]) for stage in stages] == [
        (0, "step0", 0.2),
        (1, "step1", 0.2),
    ]
    assert told == {
        "level": "INFO",
        "logger": "diffes.serving.logs",
        "request_id": "img-1",
        "client_request_id": "order-7",
        "trace_id": "0af7",
        "outcome": "done",
        "status": 200,
        "schedule_asked": "fast",
        "schedule": "mixed",
        "label": 8,
        "n": 1,
        "steps": 4,
        "seed": 2**32 - 1,
        "guidance": 1.5,
        "queue_seconds": 0.5,
        "total_seconds": 2.0,
        "steps_taken": 4,
        "mean_batch": 1.5,
    }


@pytest.mark.parametrize(("reason", "status"), [("left", 499), ("withdrawn", 410)])
def test_who_left_and_who_was_withdrawn_are_told_apart(
    caplog: pytest.LogCaptureFixture, reason: str, status: int
) -> None:
    with caplog.at_level(logging.INFO, "diffes"):
        log_ending(ending("cancelled", reason))
    told = fields(caplog.records[0])
    assert (told["outcome"], told["reason"], told["status"]) == ("cancelled", reason, status)
    assert "client_request_id" not in told


def test_a_line_logged_for_a_request_has_its_id_and_a_traceback_is_inside_the_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    token = request_id.set("img-2")
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("diffes.x").exception("it failed")
        told = fields(caplog.records[0])
    finally:
        request_id.reset(token)
    assert (told["request_id"], told["level"], told["message"]) == ("img-2", "ERROR", "it failed")
    assert "ValueError: two\nlines" in told["exc_info"]
