"""What workers and engines say to each other. A number tells requests on one connection apart."""

from dataclasses import dataclass

from diffes.engine.request import Preview, Progress, Request, Result
from diffes.errors import DiffesError


@dataclass(frozen=True, slots=True)
class Hello:
    """Who asks on this connection."""

    worker: int


@dataclass(frozen=True, slots=True)
class Submit:
    """A request for the engine; whether anybody listens to its steps."""

    number: int
    request: Request
    listens: bool


@dataclass(frozen=True, slots=True)
class TakeBack:
    """Nobody waits for it any more."""

    number: int


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Drop the request of this id."""

    number: int
    request_id: str


@dataclass(frozen=True, slots=True)
class Admitted:
    """It is in the engine's queue; seconds that it takes by itself, by forecast."""

    number: int
    work: float


@dataclass(frozen=True, slots=True)
class Refused:
    """It is not."""

    number: int
    error: DiffesError


@dataclass(frozen=True, slots=True)
class Heard:
    """One of its steps."""

    number: int
    event: Progress | Preview


@dataclass(frozen=True, slots=True)
class Done:
    """What became of it."""

    number: int
    result: Result


@dataclass(frozen=True, slots=True)
class Failed:
    """It ended in an error."""

    number: int
    error: DiffesError


@dataclass(frozen=True, slots=True)
class Gone:
    """It was cancelled."""

    number: int


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """Whether the request was inside, and is dropped."""

    number: int
    dropped: bool


Asking = Hello | Submit | TakeBack | Withdraw
Outcome = Admitted | Refused | Heard | Done | Failed | Gone
Answering = Outcome | Withdrawn
