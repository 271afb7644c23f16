"""What the engine tells of itself while it runs."""

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

Outcome = Literal["done", "failed", "cancelled", "expired", "rejected"]


class StageOf(NamedTuple):
    """A stage by schedule name and position, noisy to clean."""

    schedule: str
    stage: int


@dataclass(frozen=True, slots=True)
class StepReport:
    """One call of the denoiser. Stages of equal plan share a subgraph, so one call may serve several."""

    subgraph: str
    stages: tuple[StageOf, ...]
    images: int
    rows: int  # with the unconditional ones
    seconds: float


@dataclass(frozen=True, slots=True)
class Ending:
    """A request's end: `seconds` after it came, `steps` after the images of it had taken so many."""

    schedule: str
    outcome: Outcome
    seconds: float
    steps: int
    reason: str = ""  # of a rejection


class Observer(Protocol):
    """Called from the engine's thread (and `load`, `finished` from a caller's); must be quick and never raise."""

    def load(self, *, waiting: int, running: int) -> None:
        """Requests in the queue, images between steps."""

    def admitted(self, queue_seconds: float) -> None:
        """A request left the queue."""

    def stepped(self, step: StepReport) -> None:
        """A batch took one step."""

    def finished(self, ending: Ending) -> None:
        """A request got its answer, or its caller left."""


class Silent:
    """An observer that notes nothing."""

    def load(self, *, waiting: int, running: int) -> None:
        """Nothing."""

    def admitted(self, queue_seconds: float) -> None:
        """Nothing."""

    def stepped(self, step: StepReport) -> None:
        """Nothing."""

    def finished(self, ending: Ending) -> None:
        """Nothing."""
