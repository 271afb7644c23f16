"""Whose step is next, each policy by its own word."""

import pytest

from diffes.engine.catch_up import CatchUp
from diffes.engine.costs import StepCosts
from diffes.engine.policies import FullestStage, LeastSlack, OldestFirst
from diffes.engine.scheduling import Policy, Situation, StageScheduler
from diffes.engine.simulation import Arrival, simulate
from tests.engine.scenarios import LONG, At, path, proportional

NOW = Situation(now=0.0, waiting=0)
SUBLINEAR = StepCosts({name: {2: 1.0, 4: 1.1, 8: 1.3, 16: 1.7} for name in "abcd"})


def test_the_oldest_goes_first() -> None:
    first, second = At(0), At(9)
    assert OldestFirst().leader([first, second], NOW) is first


def test_the_fullest_stage_goes_first_and_of_it_the_oldest() -> None:
    images = [At(0), At(5), At(4), At(9)]
    assert FullestStage().leader(images, NOW) is images[1]


def test_the_least_slack_is_what_is_left_until_due_less_what_is_left_to_do() -> None:
    near_but_nearly_done, far_but_much_to_do, never = At(15, due=3), At(0, due=17), At(0)
    policy = LeastSlack(SUBLINEAR)
    assert policy.leader([never, near_but_nearly_done, far_but_much_to_do], NOW) is far_but_much_to_do
    assert policy.leader([never, At(3)], NOW) is never  # nobody is due: the oldest


def test_who_is_close_behind_catches_up_if_together_both_are_done_sooner() -> None:
    ahead, behind = At(4), At(3)
    assert CatchUp(SUBLINEAR, 8).leader([ahead, behind], NOW) is behind


def test_nobody_waits_for_who_is_far_behind() -> None:
    ahead, behind = At(15), At(0)
    assert CatchUp(SUBLINEAR, 8).leader([ahead, behind], NOW) is ahead


def test_nobody_waits_for_anyone_where_company_saves_nothing() -> None:
    images = [At(4), At(3), At(3), At(0)]
    assert CatchUp(proportional(a=1, b=1, c=1, d=1), 8).leader(images, NOW) is images[0]


def test_as_many_catch_up_as_there_is_room_for() -> None:
    images = [At(4), At(4), At(3), At(3)]
    for most in (4, 3):
        assert CatchUp(SUBLINEAR, most).leader(images, NOW) is images[2]
    assert CatchUp(SUBLINEAR, 2).leader(images, NOW) is images[0]  # those ahead are as many as go together


def test_of_a_crowd_that_waits_some_go_with_a_straggler_ahead() -> None:
    crowd = [At(0) for _ in range(100)]
    straggler = At(4)
    assert CatchUp(SUBLINEAR, 8).leader([straggler, *crowd], NOW) is crowd[0]


def test_who_is_followed_does_not_hurry_after_the_oldest() -> None:
    """Followers take those behind along: a pass of their own would be one more."""
    ahead, behind, followers = At(9), At(4), [At(0) for _ in range(3)]
    assert CatchUp(SUBLINEAR, 8).leader([ahead, behind], NOW) is behind
    assert CatchUp(SUBLINEAR, 8).leader([ahead, behind, *followers], NOW) is ahead


def test_who_will_be_followed_does_not_hurry_either() -> None:
    ahead, behind = At(9), At(4)
    assert CatchUp(SUBLINEAR, 8).leader([ahead, behind], Situation(now=0.0, waiting=0, load=5.0)) is ahead


def test_who_is_alone_neither_waits_nor_is_waited_for() -> None:
    images = [At(4), At(3, alone=True)]
    assert CatchUp(SUBLINEAR, 8).leader(images, NOW) is images[0]


def test_images_of_other_paths_do_not_catch_up_with_each_other() -> None:
    images = [At(1, keys=path(*"ab")), At(0, keys=path(*"ac"))]
    assert CatchUp(SUBLINEAR, 8).leader(images, NOW) is images[0]


def test_a_stage_that_comes_back_is_caught_up_with_where_it_comes_next() -> None:
    keys = path(*"abab")
    images = [At(2, keys=keys), At(1, keys=keys)]
    assert CatchUp(SUBLINEAR, 8).leader(images, NOW) is images[1]


def test_the_oldest_is_passed_over_a_bounded_number_of_times_in_a_row() -> None:
    ahead, behind = At(4, passed_over=2), At(3)
    assert CatchUp(SUBLINEAR, 8, patience=3).leader([ahead, behind], NOW) is behind
    assert CatchUp(SUBLINEAR, 8, patience=2).leader([ahead, behind], NOW) is ahead


@pytest.mark.parametrize("gap", range(1, 12))
def test_catching_up_is_chosen_where_the_sum_of_ends_is_smaller(gap: int) -> None:
    """What the policy says of two images is what serving them either way gives."""
    ahead_at = 12
    policy = CatchUp(SUBLINEAR, 8)

    def ends(first: Policy) -> float:
        images = [Arrival(0, LONG, step=ahead_at), Arrival(0, LONG, step=ahead_at - gap)]
        simulate(images, StageScheduler(first, SUBLINEAR, 8), SUBLINEAR)
        return sum(image.done_at for image in images)

    class OneAfterTheOther:
        def leader(self, running: list[Arrival], _: Situation) -> Arrival:
            return max(running, key=lambda image: image.step)

    class Together:
        def leader(self, running: list[Arrival], _: Situation) -> Arrival:
            return min(running, key=lambda image: image.step)

    apart, together = ends(OneAfterTheOther()), ends(Together())  # type: ignore[arg-type]
    leader = policy.leader([At(ahead_at), At(ahead_at - gap)], NOW)
    assert (leader.step < ahead_at) == (together < apart)
