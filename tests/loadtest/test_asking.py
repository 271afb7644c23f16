"""What comes as an answer is told in a row: an answer, a refusal, or what is wrong with it."""

import asyncio
import json
from base64 import b64encode
from typing import Any

import pytest

from diffes.errors import Cancelled, Closed, DiffesError, EngineError, Expired, InvalidInput, NotReady, Overloaded
from diffes.serving import sse
from diffes.serving.errors import error_of
from loadtest.mix import Asked
from loadtest.rows import StageRow
from tests.loadtest.answers import ACCEPTED, PROGRESS, after, answer, digest, document, picture, refuse
from tests.loadtest.callers import PLAIN, STREAM, ended
from tests.loadtest.server import Exchange, Script

both = pytest.mark.parametrize("asked", [PLAIN, STREAM], ids=["plain", "stream"])
ERRORS: list[tuple[DiffesError, str, str]] = [
    (Overloaded("full", reason="queue_full", expected="room", found="none"), "refused", "429 queue_full"),
    (NotReady("not yet"), "refused", "503 not_ready"),
    (Closed("going away"), "failed", "503 closing: going away"),
    (InvalidInput("steps", expected="1..1000", found=0), "refused", "422 invalid_value"),
    (Expired("too late"), "failed", "504 deadline_exceeded: too late"),
    (Cancelled("taken back"), "failed", "410 cancelled: taken back"),
    (EngineError("no memory"), "failed", "500 engine_failed: no memory"),
]


def streamed(*pieces: bytes, whole: bool = True) -> Script:
    return after(lambda exchange: exchange.stream(*pieces, whole=whole))


def plain(body: bytes) -> Script:
    return after(lambda exchange: exchange.answer(body))


@both
def test_an_answer_is_told_with_the_service_s_own_words(asked: Asked) -> None:
    row = ended(answer, asked)
    assert (row.fate, row.reason, row.status) == ("answered", "", 200)
    assert (row.number, row.due, row.label, row.seed, row.stream) == (7, 0.25, 3, 5, asked.stream)
    assert (row.request_id, row.served_by, row.shed_from) == ("request-1", "fast", "dense")
    assert (row.queue_seconds, row.total_seconds) == (0.125, 0.5)
    assert row.stages == (StageRow(stage=0, steps=4, seconds=0.25, mean_batch=2.0),)
    assert row.digests == (digest(5),)
    assert 0 < row.sent < row.ended


def test_every_image_of_an_answer_has_its_digest() -> None:
    row = ended(answer, Asked(label=0, seed=5, images=3))
    assert row.digests == (digest(5), digest(6), digest(7))


def test_of_a_stream_it_is_told_when_the_first_of_its_images_came() -> None:
    async def slowly(exchange: Exchange) -> None:
        exchange.stream(ACCEPTED, whole=False)
        await asyncio.sleep(0.1)
        exchange.chunk(PROGRESS)
        exchange.chunk(sse.event("result", document(exchange.body)))
        exchange.chunk(b"")

    row = ended(slowly, STREAM)
    assert row.first is not None
    assert row.sent + 0.1 <= row.first < row.ended
    assert ended(answer, PLAIN).first is None


@pytest.mark.parametrize(("error", "fate", "reason"), ERRORS, ids=[reason.split(":")[0] for _, _, reason in ERRORS])
def test_the_service_s_errors_are_refusals_or_failures(error: DiffesError, fate: str, reason: str) -> None:
    row = ended(after(lambda exchange: refuse(exchange, error)))
    assert (row.fate, row.status) == (fate, int(reason[:3]))
    assert row.reason.startswith(reason)


def test_a_refusal_tells_when_to_come_back() -> None:
    full = Overloaded("full", reason="queue_full", expected="room", found="none", retry_after=7)
    assert ended(after(lambda exchange: refuse(exchange, full))).retry_after == 7.0
    assert ended(after(lambda exchange: refuse(exchange, Expired("too late")))).retry_after is None


def test_a_stream_that_is_refused_is_refused_as_any_other() -> None:
    row = ended(after(lambda exchange: refuse(exchange, NotReady("not yet"))), STREAM)
    assert (row.fate, row.status, row.reason) == ("refused", 503, "503 not_ready")


def test_an_error_that_is_not_of_our_service_is_told_as_it_came() -> None:
    row = ended(after(lambda exchange: exchange.answer(b"<html>Bad \xff</html>", 500)))
    assert (row.fate, row.status, row.reason) == ("failed", 500, "500 <html>Bad \ufffd</html>")


def test_an_error_within_a_stream_is_a_failure() -> None:
    error = sse.event("error", error_of(EngineError("no memory")))
    early, late = (ended(streamed(ACCEPTED, *seen, error), STREAM) for seen in ((), (PROGRESS,)))
    assert (late.fate, late.status, late.reason) == ("failed", 200, "in the stream, engine_failed: no memory")
    assert (early.first, late.first is None) == (None, False)


IMAGES = [
    ("two for one", {"images": [b64encode(picture(0)).decode()] * 2}, "expected 1 PNG"),
    ("none for one", {"images": []}, "expected 1 PNG"),
    ("a JPEG", {"images": [b64encode(b"\xff\xd8\xff").decode()]}, "no PNG"),
    ("no base64", {"images": ["!"]}, "malformed answer"),
    ("no times", {"timings": None}, "malformed answer"),
    ("strange stages", {"timings": {"queue_seconds": 0, "total_seconds": 0, "stages": [{"a": 1}]}}, "malformed answer"),
]


@both
@pytest.mark.parametrize(("other", "reason"), [found[1:] for found in IMAGES], ids=[found[0] for found in IMAGES])
def test_an_answer_that_is_not_what_was_asked_for_is_a_failure(
    asked: Asked, other: dict[str, Any], reason: str
) -> None:
    told = document(asked.body(), **other)
    row = ended(
        streamed(ACCEPTED, sse.event("result", told)) if asked.stream else plain(json.dumps(told).encode()), asked
    )
    assert row.fate == "failed"
    assert reason in row.reason
    assert row.digests == ()


NO_ANSWERS = {"nothing": b"", "list": b"[]", "null": b"null", "image": picture(0), "deep": b"[" * 10**5}


@pytest.mark.parametrize("body", NO_ANSWERS.values(), ids=NO_ANSWERS)
def test_what_is_no_answer_of_the_service_is_a_failure(body: bytes) -> None:
    row = ended(plain(body))
    assert (row.fate, row.reason[:16]) == ("failed", "malformed answer")


@pytest.mark.parametrize("pieces", [(), (ACCEPTED, PROGRESS), (ACCEPTED, b"event: \xff\n\n")])
def test_a_stream_that_ends_without_a_result_is_a_failure(pieces: tuple[bytes, ...]) -> None:
    row = ended(streamed(*pieces), STREAM)
    assert (row.fate, row.reason) == ("failed", "the stream ended without a result")
