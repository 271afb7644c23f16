"""Waiting for what another thread does."""

import threading
from collections.abc import Callable

import pytest


def wait_for(condition: Callable[[], object]) -> None:
    """Until it is true; the test fails after ten seconds."""
    for _ in range(1000):
        if condition():
            return
        threading.Event().wait(0.01)
    pytest.fail("it did not happen in 10 s")
