"""The policy that lets others come up with the oldest image where that serves everyone sooner."""

from collections.abc import Sequence
from dataclasses import dataclass

from diffes.engine.costs import StepCosts
from diffes.engine.scheduling import BatchKey, Image, Situation, group_size

PATIENCE = 64  # steps of others after which an image goes next, whatever a policy would like better
_WORTHWHILE = 1e-3  # of the time that it would be saved from: costs are not known any better


@dataclass(frozen=True)
class CatchUp:
    """The oldest image, unless it pays to let those next behind it come up with it first.

    Of one path, b images stand where the oldest does with L steps left, a stand g steps behind them, and r follow: all
    others inside, and those who will have come by the time that b could be done. Steps of k images cost c(k) each.

    - If b goes on, it is done after L c(b). Then a and r go together from where a stands: who follows anyway takes a
      along, so that a step of its own need not be paid for.
    - If a catches up, both are done after g c(a) + L c(a + b), and r go by themselves.

    Whichever makes the sum of all their ends smaller is done. Those who go together do so in groups of `group_size`,
    one group after the other; where company costs as much as it saves that is one, and nobody waits for anyone. The
    oldest is never passed over more than `patience` times in a row, so that nobody waits longer than that for each step
    that its elders have left.
    """

    costs: StepCosts
    most: int  # images in one step: of a group that is too large as many catch up as there is room for
    patience: int = PATIENCE

    def leader(self, running: Sequence[Image], situation: Situation) -> Image:
        """Whoever should catch up, or the oldest."""
        oldest = running[0]
        if oldest.alone or oldest.passed_over >= self.patience:
            return oldest
        path = [image for image in running if image.keys is oldest.keys and not image.alone]
        behind = [image for image in path if image.step < oldest.step]
        if not behind:
            return oldest
        nearest = max(image.step for image in behind)
        last = [image for image in behind if image.step == nearest]
        first = [image for image in path if image.step == oldest.step]
        return last[0] if self._pays(last, first, len(running) + situation.waiting, situation.load) else oldest

    def _pays(self, last: Sequence[Image], first: Sequence[Image], inside: int, load: float) -> bool:
        """Whether `last` should catch up with `first`."""
        keys, at, start = first[0].keys, first[0].step, last[0].step
        ahead = len(first)
        behind = min(len(last), self.most - ahead)  # the others stay where they are
        if behind <= 0:
            return False
        size = group_size(keys, start, self.costs, self.most, inside, load)
        before = self._seconds(keys, at, ahead)
        coming = before * load / self.costs.remaining(keys, 0)
        others = inside - behind - ahead + coming
        apart = ahead * before + (behind + others) * (before + self._ends(keys, start, behind + others, size))
        closing = self._seconds(keys, start, behind) - self._seconds(keys, at, behind)
        both = closing + self._seconds(keys, at, behind + ahead)
        together = (behind + ahead) * both + others * (both + self._ends(keys, start, others, size))
        return together < apart * (1 - _WORTHWHILE)

    def _ends(self, keys: tuple[BatchKey, ...], start: int, images: float, size: int) -> float:
        """When images that stand at `start` are done on average, if groups of `size` go one after the other."""
        if images > size:
            return self._seconds(keys, start, size) * (images / size + 1) / 2
        full = int(images)
        part = images - full
        if full == 0:
            return self._seconds(keys, start, 1)
        return (1 - part) * self._seconds(keys, start, full) + part * self._seconds(keys, start, full + 1)

    def _seconds(self, keys: tuple[BatchKey, ...], start: int, images: int) -> float:
        """Of the steps from `start` on, if so many take them together."""
        return images * self.costs.remaining(keys, start, images)
