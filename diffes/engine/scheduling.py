"""Which images take the next step together. Pure choice: no tensors, no clock, no threads.

A policy (policies.py) says whose step it is. Whoever stands on the same subgraph may join, as many as it pays to take
along.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

from diffes.engine.costs import StepCosts


class BatchKey(NamedTuple):
    """What rows of one denoiser call must have in common; the step index is not among it."""

    subgraph: str
    guided: bool
    shape: tuple[int, ...]  # of one image's latents
    clip: float  # of x0, the sampler's

    def rows(self, images: int) -> int:
        """Of a call: an image has two, conditional and unconditional, if it is guided."""
        return images * (2 if self.guided else 1)


class Standing(Protocol):
    """An image between two steps."""

    @property
    def keys(self) -> tuple[BatchKey, ...]:
        """What each of its steps needs; images of equal schedule, steps and branches share the tuple."""

    @property
    def step(self) -> int:
        """Index of its next step."""

    @property
    def key(self) -> BatchKey:
        """What its next step needs."""

    @property
    def alone(self) -> bool:
        """Whether it shares its steps with nobody, so that its bits depend on nobody."""

    @property
    def passed_over(self) -> int:
        """Steps that others have taken since its own last one."""

    @property
    def due(self) -> float:
        """When its last step must be done, seconds on the engine's clock; infinity if it never must."""


Image = TypeVar("Image", bound=Standing)


@dataclass(frozen=True, slots=True)
class Situation:
    """What a choice depends on besides the images between two steps."""

    now: float  # seconds on the engine's clock
    waiting: int  # images in the queue
    load: float = 0.0  # seconds of work, of images by themselves, that come in a second


class Policy(Protocol):
    """Says whose step is next."""

    def leader(self, running: Sequence[Image], situation: Situation) -> Image:
        """One of `running`, which is in order of admission and not empty."""


class Scheduler(Protocol):
    """Says which images take the next step together."""

    def choose(self, running: Sequence[Image], situation: Situation) -> list[Image]:
        """Images of one key out of `running`, which is in order of admission; none only if there are none."""


@dataclass(frozen=True)
class StageScheduler:
    """The policy's leader goes, and with it the oldest others on its key, as many as shorten the wait of all."""

    policy: Policy
    costs: StepCosts
    most: int  # images in one step

    def choose(self, running: Sequence[Image], situation: Situation) -> list[Image]:
        """Up to `most` images of the leader's key."""
        if not running:
            return []
        leader = self.policy.leader(running, situation)
        if leader.alone:
            return [leader]
        others = [image for image in running if image is not leader and image.key == leader.key and not image.alone]
        available = min(self.most, 1 + len(others))
        inside = len(running) + situation.waiting
        return [leader, *others[: group_size(leader.key, self.costs, available, inside, situation.load) - 1]]


_LEAST_IDLE = 0.02  # of a machine that has more to do than it can


def group_size(key: BatchKey, costs: StepCosts, available: int, inside: int, load: float) -> int:
    """How many of the images that could take this step together had better do, out of `inside` in the engine.

    Of n alike images served in groups of k, a step of a group takes c(k), and they are done after c(k), 2 c(k), ...:
    on average after c(k) (n / k + 1) / 2 a step. k is the one with the least average. Where c is proportional to k,
    groups gain nothing and delay everyone but the last, and k is 1; where many wait, what counts is c(k) / k. While
    they are served others come: n is `inside` over the share of time in which the machine, serving groups of k, would
    have nothing to do.
    """
    alone = costs.seconds(key.subgraph, key.rows(1))

    def average_wait(size: int) -> float:
        seconds = costs.seconds(key.subgraph, key.rows(size))
        idle = max(1 - load * seconds / (size * alone), _LEAST_IDLE)
        return seconds * (inside / idle / size + 1)

    return min(range(available, 0, -1), key=average_wait)  # the larger of equals
