"""The schedulers that stand side by side: the engine's, and its peers'."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from serving_statistics import SERIAL, WHOLE

from diffes.engine.costs import StepCosts
from diffes.engine.policies import OldestFirst, scheduler_named
from diffes.engine.scheduling import Image, Scheduler, Situation, StageScheduler

# called for every stretch: a scheduler may keep a state, and costs are learned
Maker = Callable[[StepCosts], Scheduler]
Makers = Mapping[str, Maker]  # by name, ours last


@dataclass
class RequestLevel:
    """The peer: whoever waits when the machine falls idle goes together from the first step to the last."""

    most: int
    group: list[Any] = field(default_factory=list)

    def choose(self, running: Sequence[Image], situation: Situation) -> list[Image]:  # noqa: ARG002
        """The group that is under way, or the next one."""
        inside = set(map(id, running))
        self.group = [image for image in self.group if id(image) in inside] or list(running[: self.most])
        return self.group


def one_at_a_time(costs: StepCosts) -> Scheduler:
    """The peer: first come, first served, from the first step to the last."""
    return StageScheduler(OldestFirst(), costs, 1)


def schedulers(most: int, policies: Sequence[str]) -> Makers:
    """Peers, and ours by policy."""
    ours = {ours_by(name): partial(scheduler_named, name, most=most) for name in policies}
    return {SERIAL: one_at_a_time, WHOLE: lambda _: RequestLevel(most), **ours}


_OURS = "diffes, "


def ours_by(policy: str) -> str:
    """What ours is called under a policy."""
    return f"{_OURS}{policy}"


def policy_of(name: str) -> str | None:
    """The policy of ours that is called so; None of a peer."""
    return name.removeprefix(_OURS) if name.startswith(_OURS) else None
