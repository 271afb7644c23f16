"""What the engine tells of itself while it runs."""

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from diffes.engine.request import ResolvedRequest, Timings

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
    shares: tuple[int, ...]  # how many of the images stood in each of the stages
    gap_seconds: float | None = None  # from the end of the call before, if there was work all the time


@dataclass(frozen=True, slots=True)
class Ending:
    """A request's end, after its images had taken `steps` steps, each counted.

    `reason` is a word for metrics: what was full, where it failed, or whether its caller `left` or it was `withdrawn`.
    """

    request: ResolvedRequest
    outcome: Outcome
    timings: Timings
    steps: int
    reason: str = ""


class Observer(Protocol):
    """Called from the engine's thread (and `load`, `finished` from a caller's); must be quick and never raise."""

    def load(self, *, waiting: int, running: int) -> None:
        """Requests in the queue, images between steps."""

    def admitted(self, queue_seconds: float) -> None:
        """A request left the queue."""

    def conditioned(self, seconds: float) -> None:
        """The conditions of all steps of a request are calculated; a GPU may still be at it."""

    def stepped(self, step: StepReport) -> None:
        """A batch took one step."""

    def shrunk(self, most: int) -> None:
        """After the device ran out of memory at most so many images go together."""

    def decoded(self, images: int, seconds: float) -> None:
        """So many latents, of images or previews, became pixels on the CPU."""

    def finished(self, ending: Ending) -> None:
        """A request got its answer, or its caller left."""


class Silent:
    """An observer that notes nothing."""

    def load(self, *, waiting: int, running: int) -> None:
        """Nothing."""

    def admitted(self, queue_seconds: float) -> None:
        """Nothing."""

    def conditioned(self, seconds: float) -> None:
        """Nothing."""

    def stepped(self, step: StepReport) -> None:
        """Nothing."""

    def shrunk(self, most: int) -> None:
        """Nothing."""

    def decoded(self, images: int, seconds: float) -> None:
        """Nothing."""

    def finished(self, ending: Ending) -> None:
        """Nothing."""


class Together:
    """Observers that all hear everything, in their order."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def load(self, *, waiting: int, running: int) -> None:
        """To each."""
        for observer in self._observers:
            observer.load(waiting=waiting, running=running)

    def admitted(self, queue_seconds: float) -> None:
        """To each."""
        for observer in self._observers:
            observer.admitted(queue_seconds)

    def conditioned(self, seconds: float) -> None:
        """To each."""
        for observer in self._observers:
            observer.conditioned(seconds)

    def stepped(self, step: StepReport) -> None:
        """To each."""
        for observer in self._observers:
            observer.stepped(step)

    def shrunk(self, most: int) -> None:
        """To each."""
        for observer in self._observers:
            observer.shrunk(most)

    def decoded(self, images: int, seconds: float) -> None:
        """To each."""
        for observer in self._observers:
            observer.decoded(images, seconds)

    def finished(self, ending: Ending) -> None:
        """To each."""
        for observer in self._observers:
            observer.finished(ending)
