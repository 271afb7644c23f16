"""Whose step is next. Each bounds how often an image can be passed over."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from diffes.engine.catch_up import PATIENCE, CatchUp
from diffes.engine.costs import StepCosts
from diffes.engine.scheduling import Image, Policy, Situation, StageScheduler


class OldestFirst:
    """The image that was admitted first. Nobody waits longer than the steps that its elders have left."""

    def leader(self, running: Sequence[Image], situation: Situation) -> Image:  # noqa: ARG002
        """The first."""
        return running[0]


@dataclass(frozen=True)
class FullestStage:
    """The oldest image on the key that most stand on.

    With `patience`: nobody is passed over more often than that plus the number of images between two steps.
    """

    patience: int = PATIENCE

    def leader(self, running: Sequence[Image], situation: Situation) -> Image:  # noqa: ARG002
        """The oldest on the fullest key."""
        counts = Counter(image.key for image in running)
        return _impatient(running, self.patience) or max(running, key=lambda image: counts[image.key])


@dataclass(frozen=True)
class LeastSlack:
    """The image that could wait least and still be done when it is due; the oldest if none is ever due.

    Patience as for FullestStage, so that images that are never due are not passed over for ever.
    """

    costs: StepCosts
    patience: int = PATIENCE

    def leader(self, running: Sequence[Image], situation: Situation) -> Image:
        """Whoever has the least time to spare."""

        def slack(image: Image) -> float:
            return image.due - situation.now - self.costs.remaining(image.keys, image.step)

        return _impatient(running, self.patience) or min(running, key=slack)


def _impatient(running: Sequence[Image], patience: int) -> Image | None:
    longest = max(running, key=lambda image: image.passed_over)
    return longest if longest.passed_over >= patience else None


POLICIES: Mapping[str, Callable[[StepCosts, int], Policy]] = {
    "catch-up": CatchUp,
    "oldest": lambda _costs, _most: OldestFirst(),
    "fullest": lambda _costs, _most: FullestStage(),
    "slack": lambda costs, _most: LeastSlack(costs),
}
DEFAULT = "catch-up"


def scheduler_named(policy: str, costs: StepCosts, most: int) -> StageScheduler:
    """A scheduler by its policy's name, one of POLICIES, for steps of up to `most` images."""
    return StageScheduler(POLICIES[policy](costs, most), costs, most)
