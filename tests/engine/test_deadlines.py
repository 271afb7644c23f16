"""Whether anyone's time is over."""

from math import inf

from diffes.engine.deadlines import Deadlines


def test_the_soonest_counts_whatever_the_order() -> None:
    deadlines = Deadlines()
    for due in (5.0, 3.0, inf, 4.0):
        deadlines.add(due)
    assert not deadlines.passed(2.9)
    assert deadlines.passed(3.0)


def test_renewed_it_knows_who_is_left_and_who_comes_later() -> None:
    deadlines = Deadlines()
    deadlines.add(3.0)
    deadlines.renew(iter([7.0, 6.0]))
    assert not deadlines.passed(5.9)
    assert deadlines.passed(6.0)
    deadlines.add(4.0)
    assert deadlines.passed(4.0)


def test_what_comes_while_it_is_renewed_is_not_lost() -> None:
    deadlines = Deadlines()

    def dues() -> "list[float]":
        deadlines.add(2.0)  # as another thread might, whose request is not among these
        return [9.0]

    deadlines.renew(due for _ in range(1) for due in dues())
    assert deadlines.passed(2.0)


def test_nobody_is_never_late() -> None:
    deadlines = Deadlines()
    deadlines.renew([])
    assert not deadlines.passed(1e18)
