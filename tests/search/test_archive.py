from math import inf, isclose

from hypothesis import given
from hypothesis import strategies as st

from search.archive import Point, archive_of, cheapest, typical_error
from search.genome import Genome

Judged = list[tuple[Genome, float | None]]
# few values, so that genomes often are equal in saving, error or both
GENOMES = st.tuples(st.integers(0, 4), st.integers(0, 4))
ERRORS = st.one_of(st.none(), st.just(inf), st.integers(-2, 9).map(float))
JUDGED = st.dictionaries(GENOMES, ERRORS, max_size=30).map(lambda found: list(found.items()))


def saved(genome: Genome) -> int:
    return sum(genome)


def dominates(one: Point, other: Point) -> bool:
    no_worse = one.saved >= other.saved and one.error <= other.error
    return no_worse and (one.saved > other.saved or one.error < other.error)


def points_of(judged: Judged) -> list[Point]:
    return [Point(saved(genome), error, genome) for genome, error in judged if error is not None and error < inf]


@given(JUDGED)
def test_it_never_holds_a_point_that_another_dominates(judged: Judged) -> None:
    archive = archive_of(judged, saved)
    assert not any(dominates(point, kept) for point in points_of(judged) for kept in archive)


@given(JUDGED)
def test_whatever_it_leaves_out_is_dominated_by_or_equal_to_something_it_holds(judged: Judged) -> None:
    archive = archive_of(judged, saved)
    for point in points_of(judged):
        assert any(kept.saved >= point.saved and kept.error <= point.error for kept in archive)


@given(JUDGED, st.randoms())
def test_it_does_not_depend_on_the_order(judged: Judged, random: st.DataObject) -> None:
    shuffled = list(judged)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert archive_of(shuffled, saved) == archive_of(judged, saved)


@given(JUDGED, st.integers(0, 30))
def test_an_archive_of_archives_is_the_archive_of_all(judged: Judged, cut: int) -> None:
    parts = [archive_of(judged[:cut], saved), archive_of(judged[cut:], saved)]
    again: Judged = [(point.genome, point.error) for part in parts for point in part]
    assert archive_of(again, saved) == archive_of(judged, saved)


@given(JUDGED)
def test_saving_and_error_rise_together(judged: Judged) -> None:
    archive = archive_of(judged, saved)
    for before, after in zip(archive, archive[1:], strict=False):
        assert before.saved < after.saved
        assert before.error < after.error


@given(JUDGED, st.integers(-1, 10))
def test_the_cheapest_is_the_least_error_that_saves_enough(judged: Judged, wanted: int) -> None:
    enough = [point.error for point in points_of(judged) if point.saved >= wanted]
    found = cheapest(archive_of(judged, saved), wanted)
    assert (found.error if found else None) == min(enough, default=None)


def test_the_typical_error_is_a_geometric_mean_over_the_savings() -> None:
    front = [Point(2, 0.01, (2,)), Point(4, 1.0, (4,))]
    assert isclose(typical_error(front, [1, 2, 3, 4]) or 0, 0.1)


def test_there_is_no_typical_error_of_a_front_that_falls_short_or_of_scores() -> None:
    assert typical_error([Point(2, 0.1, (2,))], [1, 3]) is None
    assert typical_error([Point(2, -0.1, (2,))], [1, 2]) is None
    assert typical_error([], [1]) is None
