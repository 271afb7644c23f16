"""What others do, in our harness: the same budget, rollouts, compensation, probes and accounts of denoising.

- `uniform`: one level everywhere; a few random genes one level further where the budget falls between two levels.
- `mosaic`: three phases after MosaicDiff (arXiv 2510.11962): the slow noisy phase loses most, the end half of that,
  the fast middle least, scaled until the budget is met. No stage is skipped altogether.
- `random`: feasible genomes drawn like Diff-ES's random ones, as many as Diff-ES judges.
- `diff-es`: the search of arXiv 2603.05105 as its code runs it: one level for a whole stage, heads and channels tied;
  (4 + 16) for 50 generations of which the first is the first population; one move of 1 to 5 levels from a stage to
  another, clamped, no crossover; uniform, patterns and random genomes to begin with; whole rollouts of 64 probes,
  none repeated; the best on them is the answer, without a look at held-out noise.

Where Diff-ES departs from its own code here, it is to its advantage or for the budget's sake. Its budget is the plain
sum of levels; ours is the real cost weighted by executed steps. Where stages run equally many steps the two agree and
a move keeps both; elsewhere, and after rounding, random other genes are moved by single levels until the budget holds.
Its first genomes heap what rounding leaves on one stage; here it is spread. A rollout starts at the first step that
is not dense, for every method, and the dense start before it costs nothing.
"""

from collections.abc import Callable
from math import ceil

import numpy as np
from numpy.typing import NDArray

from search.budget import Budget, Levels, Random
from search.genome import Genome, GenomeSpace
from search.options import MethodName
from search.population import PATTERNS, as_genome, patterned, uniform_genome

_MOST_LEVELS = 5  # moved at once, as in its published runs
_TRIES = 32  # pairs of stages drawn for a move
_PATIENCE = 50  # draws per genome wanted before duplicates are accepted

Weights = NDArray[np.float64]


def first_genomes(method: MethodName, space: GenomeSpace, budget: Budget, size: int, random: Random) -> list[Genome]:
    """What a baseline judges first, all within the budget: `size` genomes where it searches, else its only one."""
    if method == "uniform":
        return [uniform_genome(space, budget, random)]
    if method == "mosaic":
        return [as_genome(patterned(PATTERNS["mosaic"], space, budget, random))]
    if method == "random":
        return _filled([], budget, size, random)
    anchors = [uniform_genome(space, budget, random)]
    for shape in _SHAPES.values():
        weights = np.repeat(shape(space.stages), space.genes_of_stage)
        anchors.append(as_genome(shared_out(weights, budget, random)))
    return _filled(list(dict.fromkeys(anchors))[:size], budget, size, random)


def random_genome(budget: Budget, random: Random) -> Genome:
    """Levels in proportion to exponential weights: compositions of the budget, all about equally likely."""
    return as_genome(shared_out(random.gamma(1.0, 1.0, len(budget.savings)), budget, random))


def shared_out(weights: Weights, budget: Budget, random: Random) -> Levels:
    """Levels in proportion to weights [genes], clamped; the budget's remainder in single levels on random genes."""
    movable, share = budget.movable, budget.wanted / budget.dense
    total = ceil(share * budget.top.sum())
    parts = weights[movable] / max(weights[movable].sum(), np.finfo(np.float64).tiny)
    levels = np.zeros(len(weights), dtype=np.int64)
    levels[movable] = np.minimum(np.floor(parts * total + 1e-6), budget.top[movable])
    return budget.repaired(levels, random)


def level_switched(genome: Genome, budget: Budget, random: Random) -> Genome:
    """Diff-ES's mutation: 1 to 5 levels from one gene to another, as far as both allow; at most one such move.

    Its count of moves, the lesser of two draws from 1..max_times, is 1 at its max_times of 1.
    """
    levels = np.array(genome, dtype=np.int64)
    if len(budget.movable) < 2:
        return genome
    for _ in range(_TRIES):
        giver, taker = random.choice(budget.movable, 2, replace=False)
        move = min(random.randint(_MOST_LEVELS) + 1, int(levels[giver]), int(budget.top[taker] - levels[taker]))
        if move > 0:
            levels[giver] -= move
            levels[taker] += move
            return as_genome(budget.repaired(levels, random, held=[int(giver), int(taker)]))
    return genome


def _filled(genomes: list[Genome], budget: Budget, size: int, random: Random) -> list[Genome]:
    """Random genomes added, distinct as long as there are any."""
    found = dict.fromkeys(genomes)
    for _ in range(_PATIENCE * size):
        if len(found) == size:
            break
        found.setdefault(random_genome(budget, random))
    known = list(found)
    return known + [known[i % len(known)] for i in range(size - len(known))]


def _bump(stages: int, narrowness: float) -> Weights:
    """A normal curve over the stages, centred, `stages / narrowness` wide but at least one stage."""
    middle, width = (stages - 1) / 2, max(1.0, stages / narrowness)
    curve: Weights = np.exp(-0.5 * ((np.arange(stages) - middle) / width) ** 2)
    return curve


# Diff-ES's patterns, noisy to clean; its front and back are its ramps by other names
_SHAPES: dict[str, Callable[[int], Weights]] = {
    "ramp down": lambda stages: np.arange(stages, 0, -1, dtype=np.float64),
    "ramp up": lambda stages: np.arange(1, stages + 1, dtype=np.float64),
    "middle": lambda stages: _bump(stages, 4.0),
    "zigzag": lambda stages: np.where(np.arange(stages)[::-1] % 2 == 0, 1.2, 0.8),
    "ends": lambda stages: _bump(stages, 3.5).max() - _bump(stages, 3.5) + 1e-6,
}
