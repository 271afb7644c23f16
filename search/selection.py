"""The end-to-end choice: the best few and the uniform schedule, on noise and labels the search never saw."""

from math import inf

from diffes.errors import SearchError
from search.genome import Genome
from search.memo import Memo


def finalists(memo: Memo, count: int, uniform: Genome) -> list[Genome]:
    """The `count` best of the search, and the uniform schedule, so that the choice is never worse than it."""
    best = memo.best(count)
    return best if uniform in best else [*best, uniform]


def first_choice(memo: Memo) -> Genome:
    """The genome of least objective in the search itself; SearchError if every rollout failed."""
    return choose(memo.first(len(memo)), memo)


def choose(genomes: list[Genome], held_out: Memo) -> Genome:
    """The genome of least held-out objective, the earlier one of equals; SearchError if every rollout failed."""
    chosen = min(genomes, key=held_out.__getitem__)
    if held_out[chosen] == inf:
        raise SearchError(
            "no schedule's samples are finite",
            expected="at least one",
            found=f"{len(genomes)} that diverge",
            remedy="Remove fewer MACs, or search in float32 or with compensation.",
        )
    return chosen
