from collections.abc import Sequence
from math import inf

from hypothesis import given
from hypothesis import strategies as st

from search.genome import Genome
from search.ladder import FrontLadder, Ladder, Rung
from search.memo import Memo

A, B, C, D = (1,), (2,), (3,), (4,)


class Probes:
    """Known objectives on some probes; counts what is asked."""

    def __init__(self, probes: int, known: dict[Genome, float]) -> None:
        self.asked: list[Genome] = []
        self.known = known
        self.rung = Rung(probes, Memo(), self)

    def __call__(self, genomes: Sequence[Genome]) -> None:
        for genome in genomes:
            self.asked.append(genome)
            self.rung.memo.add(genome, self.known[genome])


def two_rungs() -> tuple[Probes, Probes, Ladder]:
    few = Probes(1, {A: 0.1, B: 0.4, C: 0.8, D: inf})
    more = Probes(3, {A: 0.3, B: 0.2, C: 0.1, D: 0.5})
    return few, more, Ladder((few.rung, more.rung))


def test_an_objective_is_the_mean_over_all_probes() -> None:
    _, _, ladder = two_rungs()
    assert ladder([A, B]) == [(0.1 + 3 * 0.3) / 4, (0.4 + 3 * 0.2) / 4]


def test_a_genome_worse_than_every_survivor_on_few_probes_is_not_run_on_more() -> None:
    _, more, ladder = two_rungs()
    ladder([A, B])
    assert ladder([C], survivors=[A, B]) == [inf]
    assert more.asked == [A, B]
    assert C not in ladder.memo


def test_a_genome_as_good_as_one_survivor_climbs_on() -> None:
    _, _, ladder = two_rungs()
    ladder([A, C])
    assert ladder([B], survivors=[A, C]) == [(0.4 + 3 * 0.2) / 4]


def test_a_genome_that_fails_climbs_no_further_and_is_remembered() -> None:
    _, more, ladder = two_rungs()
    assert ladder([D, A])[0] == inf
    assert more.asked == [A]
    assert ladder.memo[D] == inf
    assert ladder.memo.excluded == 1


def test_nothing_is_found_twice() -> None:
    few, more, ladder = two_rungs()
    assert ladder([A, A, B]) == ladder([A, A, B])
    assert few.asked == more.asked == [A, B]


@given(st.permutations([A, B, C, D]), st.sampled_from([[], [A], [A, B], [C]]))
def test_a_verdict_depends_on_the_survivors_and_not_on_the_company(
    order: list[Genome], survivors: list[Genome]
) -> None:
    _, _, together = two_rungs()
    together(survivors)
    verdicts = dict(zip(order, together(order, survivors), strict=True))
    for genome in order:
        _, _, alone = two_rungs()
        alone(survivors)
        assert alone([genome], survivors) == [verdicts[genome]]


def test_genomes_keep_the_order_they_were_first_seen_in() -> None:
    _, _, ladder = two_rungs()
    ladder([C, A])
    ladder([B])
    assert ladder.seen == 3
    assert ladder.first(2) == [C, A]
    assert [genome for genome, _ in ladder.memo.entries()] == [C, A, B]


def front_of_two_rungs(saved: dict[Genome, int]) -> tuple[Probes, Probes, FrontLadder]:
    few, more, ladder = two_rungs()
    return few, more, FrontLadder(ladder.rungs, saved.__getitem__)


def test_a_genome_of_a_front_stays_below_if_a_survivor_that_saves_no_less_is_better() -> None:
    _, more, ladder = front_of_two_rungs({A: 5, B: 5, C: 1, D: 1})
    ladder([A])
    assert ladder([B], survivors=[A]) == [inf]
    assert more.asked == [A]


def test_a_better_survivor_that_saves_less_does_not_count() -> None:
    _, _, ladder = front_of_two_rungs({A: 5, B: 5, C: 6, D: 1})
    ladder([A, B])
    assert ladder([C], survivors=[A, B]) == [(0.8 + 3 * 0.1) / 4]


def test_what_was_judged_to_the_top_keeps_its_objective_though_dominated() -> None:
    saved: dict[Genome, int] = {A: 5, B: 5}
    few, more = Probes(1, {A: 0.1, B: 0.1}), Probes(3, {A: 0.1, B: 0.9})
    ladder = FrontLadder((few.rung, more.rung), saved.__getitem__)
    ladder([A])
    assert ladder([B], survivors=[A]) == [(0.1 + 3 * 0.9) / 4]
