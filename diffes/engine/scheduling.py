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
    size: str = ""  # of its images, if it is not the model's own

    @property
    def kind(self) -> str:
        """What its cost goes by: the subgraph, and the size."""
        return f"{self.subgraph} at {self.size}" if self.size else self.subgraph

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
    def request(self) -> object:
        """Whose it is: images of one request are answered together."""

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
    """The policy's leader goes, and with it others on its key, as many as shorten the wait of all.

    Who took a step together goes on together: of a group that was divided the smaller part would take all its further
    steps for few. Who has not begun yet may be divided, but the leader takes its request's other images along: that is
    answered when the last of them is done.
    """

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
        first, *others = _groups([image for image in running if image.key == leader.key and not image.alone], leader)
        if leader.step == 0:
            begin = self._beginning(first)
            inside = set(map(id, begin))
            first, others = begin, [[image for image in first if id(image) not in inside], *others]
        batch = first[: self.most]
        for group in filter(None, others):
            batch += self._company(batch, group, len(running) + situation.waiting, situation.load)
        return batch

    def _beginning(self, crowd: list[Image]) -> list[Image]:
        """The first of those who have not begun, with all of its request if they cost less together."""
        leader = crowd[0]
        own = [image for image in crowd if image.request is leader.request][: self.most]
        together = self.costs.remaining(leader.keys, 0, len(own)) < self.costs.remaining(leader.keys, 0)
        return own if together else crowd[:1]

    def _company(self, batch: Sequence[Image], group: Sequence[Image], inside: int, load: float) -> Sequence[Image]:
        """Those of a group who go with the batch: all or none, unless none of them and of the batch has begun."""
        most = min(self.most, len(batch) + len(group))
        first, other = batch[0], group[0]
        to_the_end = first.keys is other.keys and first.step == other.step
        keys, step = (first.keys, first.step) if to_the_end else ((first.key,), 0)
        more = max(0, group_size(keys, step, self.costs, most, inside, load) - len(batch))
        divisible = first.step == other.step == 0
        return group[:more] if divisible or more == len(group) else []


def _groups(images: Sequence[Image], leader: Image) -> list[list[Image]]:
    """Those who took their last step together, and those who have taken none; the leader's first, itself in front."""
    groups: dict[tuple[int, int, int], list[Image]] = {}
    for image in sorted(images, key=lambda image: image is not leader):
        taken = (id(image.keys), image.step, image.passed_over) if image.step else (0, 0, 0)
        groups.setdefault(taken, []).append(image)
    return list(groups.values())


_HORIZON = 400.0  # images' time by themselves, over which what comes is taken to stay as it is


def group_size(
    keys: tuple[BatchKey, ...], step: int, costs: StepCosts, available: int, inside: int, load: float
) -> int:
    """How many of the images that could take the steps from `step` on together had better do, out of n = `inside` in
    the engine.

    In groups of k they leave at the pace k c(1) / c(k), in images per time of one by itself, where c(k) is what k of
    them take to the end: who goes together stays together, whatever the next step by itself would gain or lose. `load`
    come meanwhile. So there are n + k / 2 inside, less and less by the difference, until none is left (half of a group
    could have left before the other half); from then on `load`. k is the one with the least sum over a horizon, which
    by Little's law is the least wait of all who are inside or come. Where c is proportional to k, groups gain nothing
    and delay all but their last, and k is 1. Where many wait, or more come than can be served, the pace decides.
    """
    alone = costs.remaining(keys, step)

    def inside_over_time(size: int) -> float:
        drain = alone / costs.remaining(keys, step, size) - load
        busy = inside / drain if drain * _HORIZON > inside else _HORIZON
        return busy * (inside + size / 2 - drain * busy / 2) + (_HORIZON - busy) * min(load, 1.0)

    return min(range(available, 0, -1), key=inside_over_time)  # the larger of equals
