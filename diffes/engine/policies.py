"""Whose step is next. Each bounds how often an image can be passed over."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from diffes.engine.costs import StepCosts
from diffes.engine.scheduling import BatchKey, Image, Policy, Situation, StageScheduler

_WORTHWHILE = 1e-3  # of the time that it would be saved from: costs are not known any better
PATIENCE = 64  # steps of others after which an image goes next, whatever a policy would like better


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


@dataclass(frozen=True)
class CatchUp:
    """The oldest image, unless it pays to let others come up with those ahead of them first.

    Two groups on one path cost c(a) + c(b) a step apart and c(a + b) together. The one behind can close the gap while
    the one ahead waits. What that saves all images in the engine together, with ahead b, behind a, o others after
    them, L steps left from where b stands and g steps between: apart, b is done after L c(b) and a after
    L c(b) + (g + L) c(a), which is when the others begin; together all of it is done after g c(a) + L c(a + b). If the
    sum of these times is less together, a goes next. Where company costs as much as it saves nobody waits for anyone,
    and images are served in order. The oldest is never passed over more than `patience` times in a row, so that nobody
    waits longer than that for each step that its elders have left.
    """

    costs: StepCosts
    most: int  # images in one step: of a group that is too large as many catch up as there is room for
    patience: int = PATIENCE

    def leader(self, running: Sequence[Image], situation: Situation) -> Image:
        """Whoever should catch up, or the oldest."""
        gain, behind = 0.0, running[0]
        if behind.passed_over >= self.patience:
            return behind
        inside = len(running) + situation.waiting
        for last, first in _pairs(running):
            saved = self._saved(last, first, inside)
            if saved > gain:
                gain, behind = saved, last[0]
        return behind

    def _saved(self, last: Sequence[Image], first: Sequence[Image], inside: int) -> float:
        """Seconds, summed over the images inside, that are saved if `last` catches up with `first`."""
        ahead = len(first)
        behind = min(len(last), self.most - ahead)  # the others stay where they are
        if behind <= 0:
            return 0.0
        keys, at, key = first[0].keys, first[0].step, first[0].key
        gap = keys.index(key, last[0].step) - last[0].step
        left = len(keys) - at
        closing = gap * self._seconds(last[0].key, behind)
        alone, before, together = (self._seconds(key, count) for count in (behind, ahead, behind + ahead))
        others = inside - behind - ahead
        apart = ahead * left * before + (behind + others) * (closing + left * (before + alone))
        saved = apart - inside * (closing + left * together)
        return saved if saved > _WORTHWHILE * apart else 0.0

    def _seconds(self, key: BatchKey, images: int) -> float:
        return self.costs.seconds(key.subgraph, key.rows(images))


def _pairs(running: Sequence[Image]) -> Iterator[tuple[Sequence[Image], Sequence[Image]]]:
    """Neighbouring groups of each path, the one behind first. A group stands on one key; who is alone is in none."""
    paths: dict[int, dict[BatchKey, list[Image]]] = {}
    for image in running:
        if not image.alone:
            paths.setdefault(id(image.keys), {}).setdefault(image.key, []).append(image)
    for groups in paths.values():
        ordered = sorted(groups.values(), key=lambda group: group[0].step)
        yield from (pair for pair in pairwise(ordered) if pair[1][0].key in pair[0][0].keys[pair[0][0].step :])


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
