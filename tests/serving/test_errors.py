"""Every error has its status, shape and headers."""

import json
from typing import Any

import pytest

import diffes.errors
from diffes.errors import BundleError, DiffesError, EngineError, Expired, InvalidInput, NotReady, Overloaded
from diffes.serving.bodies import MalformedBody
from diffes.serving.errors import answer


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (MalformedBody("malformed JSON"), 400, "malformed_json"),
        (InvalidInput("n", expected="1..16", found=0), 422, "invalid_value"),
        (Overloaded("the queue is full", reason="queue_full", expected=4, found=4), 429, "queue_full"),
        (Overloaded("too late", reason="deadline", expected=1, found=2), 429, "deadline"),
        (Expired("too late"), 504, "deadline_exceeded"),
        (NotReady("not ready"), 503, "not_ready"),
        (EngineError("stage 1 failed", found="a secret"), 500, "engine_failed"),
        (BundleError("damaged", found="a secret"), 500, "engine_failed"),
    ],
)
def test_an_error_is_answered_in_one_shape(error: DiffesError, status: int, code: str) -> None:
    response = answer(error)
    body = json.loads(bytes(response.body))
    assert response.status_code == status
    assert body["error"].keys() == {"message", "type", "param", "code"}
    assert body["error"]["code"] == code
    assert "secret" not in body["error"]["message"]


@pytest.mark.parametrize("name", [n for n in vars(diffes.errors) if isinstance(vars(diffes.errors)[n], type)])
def test_no_error_is_without_an_answer(name: str) -> None:
    cls = vars(diffes.errors)[name]
    needed: dict[type[DiffesError], dict[str, Any]] = {
        InvalidInput: {"expected": 1, "found": 0},
        Overloaded: {"reason": "queue_full", "expected": 1, "found": 2},
    }
    error = cls("it failed", **needed.get(cls, {}))
    assert 400 <= answer(error).status_code < 600


@pytest.mark.parametrize(("seconds", "told"), [(0, "1"), (2.1, "3"), (1e6, "120")])
def test_retry_after_is_whole_seconds_within_reason(seconds: float, told: str) -> None:
    full = Overloaded("full", reason="queue_full", expected=1, found=1, retry_after=seconds)
    assert answer(full).headers["retry-after"] == told


def test_who_came_too_late_is_told_not_to_try_again() -> None:
    assert answer(Expired("too late")).headers["x-should-retry"] == "false"


def test_the_field_is_the_param() -> None:
    body = json.loads(bytes(answer(InvalidInput("steps", expected="1..1000", found=0)).body))
    assert body["error"]["param"] == "steps"
    assert body["error"]["message"] == "invalid steps: expected 1..1000, found 0"
