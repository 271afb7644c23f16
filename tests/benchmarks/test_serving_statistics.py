"""What callers felt, and ours beside the better peer."""

import numpy as np
import pytest
from serving_statistics import beside, felt, spread

FAST, SLOW = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.2, 0.4, 0.6, 0.8])


def test_a_share_is_of_requests_done_within_so_many_times_alone() -> None:
    assert felt(SLOW, alone=0.2, slacks=[1.0, 2.5, 4.0])["good"] == {"1": 0.25, "2.5": 0.5, "4": 1.0}


def test_each_measure_is_beside_whichever_peer_is_better_in_it() -> None:
    ours, fast, slow = (felt(each, alone=0.2, slacks=[2.0]) for each in (FAST, FAST / 2, SLOW))
    assert beside(ours, [slow, fast]) == beside(ours, [fast, slow]) == pytest.approx({"p50": 2, "p99": 2, "good": 1})
    assert beside(ours, [slow]) == pytest.approx({"p50": 0.5, "p99": 0.5, "good": 2})


def test_beside_peers_that_did_nothing_in_time_a_share_has_no_ratio() -> None:
    ours, slow = (felt(each, alone=0.1, slacks=[1.5]) for each in (FAST, SLOW))
    assert slow["good"] == {"1.5": 0.0}
    assert beside(ours, [slow]) == pytest.approx({"p50": 0.5, "p99": 0.5, "good": None})


def test_edges_hold_the_ratio_of_all_stretches() -> None:
    ours, theirs = [FAST, FAST * 1.1, FAST * 0.9], [SLOW, SLOW, SLOW * 2]
    mine, peer = (felt(np.concatenate(each), alone=1.0, slacks=[0.4]) for each in (ours, theirs))
    for what, ratio in beside(mine, [peer]).items():
        low, high = spread(ours, [theirs], slack=0.4)[what] or (np.inf, -np.inf)
        assert ratio is not None
        assert low < ratio < high


def test_where_some_draw_leaves_peers_with_nothing_in_time_its_edges_are_not_told() -> None:
    early, late = np.array([0.1, 0.1]), np.array([9.0, 9.0])
    edges = spread([early, early], [[early, late]], slack=0.5)  # a draw of the late stretch alone does nothing in time
    assert edges["good"] is None
    assert edges["p50"] is not None
