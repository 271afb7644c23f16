import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from search.evolution import Moment
from search.genome import Genome
from search.mu_plus_lambda import MuPlusLambda


class Summed:
    """A judge that likes small sums and remembers whom it met."""

    def __init__(self) -> None:
        self.met: list[Genome] = []

    def __call__(self, genomes: Sequence[Genome], survivors: Sequence[Genome] = ()) -> list[float]:
        assert not survivors, "every schedule is judged on all probes"
        self.met += [genome for genome in dict.fromkeys(genomes) if genome not in self.met]
        return [float(sum(genome)) for genome in genomes]

    @property
    def seen(self) -> int:
        return len(self.met)

    def first(self, count: int) -> list[Genome]:
        return self.met[:count]


def nudged(parents: Sequence[Genome], random: Any) -> Genome:
    parent = parents[random.randint(len(parents))]
    return tuple(level + int(random.randint(-2, 3)) for level in parent)


def loop(judge: Summed, generations: int) -> MuPlusLambda:
    return MuPlusLambda(judge, nudged, mu=2, offspring=5, generations=generations, seed=3)


def moments_of(strategy: MuPlusLambda, start: Moment | None = None) -> list[Moment]:
    found = [start or strategy.begin([(5, 5, 5), (9, 9, 9), (1, 9, 9)])]
    strategy.run(found[0], found.append)
    return found


def test_the_best_live_on_and_the_best_never_gets_worse() -> None:
    moments = moments_of(loop(Summed(), 8))
    assert [moment.number for moment in moments] == list(range(9))
    for before, after in zip(moments, moments[1:], strict=False):
        ranked = sorted(before.objectives)
        assert after.objectives[:2] == ranked[:2]
        assert len(after.population) == 7
    assert min(moments[-1].objectives) < 15


def test_it_goes_on_from_any_moment_written_to_a_file_as_if_it_had_never_stopped() -> None:
    whole = moments_of(loop(Summed(), 6))
    for cut in whole[:-1]:
        stored = replace(cut, random=json.loads(json.dumps(cut.random)))
        judge = Summed()
        judge.met = [genome for moment in whole[: cut.number + 1] for genome in dict.fromkeys(moment.population)]
        again = moments_of(loop(judge, 6), stored)
        assert [moment.population for moment in again[1:]] == [m.population for m in whole[cut.number + 1 :]]


def test_no_generations_judge_the_first_population_alone() -> None:
    judge = Summed()
    assert len(moments_of(loop(judge, 0))) == 1
    assert judge.seen == 3
