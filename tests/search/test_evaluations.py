from hypothesis import given
from hypothesis import strategies as st

from search.evaluations import Evaluations


def test_a_dense_row_step_is_one_evaluation_and_a_pruned_one_its_share() -> None:
    evaluations = Evaluations({}, dense=200)
    evaluations.add("table", 200)
    evaluations.add("evolve", 50)
    evaluations.add("evolve", 100)
    assert evaluations.of("evolve") == 0.75
    assert evaluations.total == 1.75
    assert evaluations.report() == {"table": 1.0, "evolve": 0.75, "total": 1.75}


@given(st.permutations([(p, m) for p in ("table", "evolve") for m in (1, 10**15, 7)]))
def test_the_order_of_work_does_not_matter(work: list[tuple[str, int]]) -> None:
    evaluations = Evaluations({}, dense=3)
    for phase, macs in work:
        evaluations.add(phase, macs)
    assert evaluations.total == 2 * (10**15 + 8) / 3
