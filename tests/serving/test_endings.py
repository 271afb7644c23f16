"""Ends told on a thread of their own."""

import threading
import time

import pytest

from diffes.serving.endings import Ended, Endings
from tests.serving.endings import ending


def test_the_engine_does_not_wait_and_every_end_is_told_in_order_before_the_close() -> None:
    gate, told = threading.Event(), []

    def tell(ended: Ended) -> None:
        gate.wait(timeout=10)
        told.append(ended.ending.outcome)

    endings = Endings(tell)
    endings.finished(ending("done"))
    endings.finished(ending("expired"))
    assert told == []
    gate.set()
    endings.close()
    assert told == ["done", "expired"]


def test_an_end_that_cannot_be_told_is_logged_and_the_next_one_told(caplog: pytest.LogCaptureFixture) -> None:
    told: list[int] = []

    def tell(ended: Ended) -> None:
        if ended.ending.outcome == "failed":
            raise OSError("no room")
        told.append(ended.at)

    before = time.time_ns()
    endings = Endings(tell)
    endings.finished(ending("failed"))
    endings.finished(ending("done"))
    endings.close()
    assert "could not be told" in caplog.text
    assert before <= told[0] <= time.time_ns()
