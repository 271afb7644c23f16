"""An open loop: every request is sent when it is due, and nobody waits for those before."""

from collections.abc import Callable, Iterable
from typing import Protocol

from loadtest.plan import Call


class Clock(Protocol):
    """Time as a loop sees it."""

    def now(self) -> float:
        """Seconds since some moment."""

    def sleep(self, seconds: float) -> None:
        """Let so much time pass."""


def drive(calls: Iterable[Call], clock: Clock, send: Callable[[Call], object]) -> None:
    """`send` every call at its time since now; `send` must not wait. A loop that is late catches up without a pause."""
    began = clock.now()
    for call in calls:
        if (early := began + call.at - clock.now()) > 0:
            clock.sleep(early)
        send(call)
