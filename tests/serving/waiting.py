"""Waiting for what another thread does."""

import threading
import time
from collections.abc import Callable

import pytest


def wait_for(condition: Callable[[], object], seconds: float = 10) -> None:
    """Until it is true; the test fails after so long."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"it did not happen in {seconds:g} s")
        threading.Event().wait(0.01)
