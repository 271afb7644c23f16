"""Taking whole plans apart: on made-up times whose parts are known."""

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffes.architectures import Architecture
from diffes.checkpoint import Checkpoint
from diffes.latency.fit import Group, fit, groups_of, plans_to_time, random_plans
from diffes.schedule import BlockPlan, StagePlan

GROUPS = (Group((0, 1, 3), (0, 1, 2, 3, 4), (0, 8, 16, 24, 32)), Group((2,), (0, 2, 4, 6, 8), (0, 4, 8, 12, 16)))
DENSE = (BlockPlan(4, 32), BlockPlan(4, 32), BlockPlan(8, 16), BlockPlan(4, 32))
REST = 3000
HEADS = ({0: 0, 1: 90, 2: 120, 3: 120, 4: 200}, {0: 0, 2: 11, 4: 22, 6: 33, 8: 50})
CHANNELS = ({0: 0, 8: 300, 16: 310, 24: 700, 32: 800}, {0: 0, 4: 5, 8: 50, 12: 55, 16: 77})


def nanoseconds(plan: StagePlan) -> int:
    """What a machine whose halves cost exactly this would take."""
    of_block = {block: number for number, group in enumerate(GROUPS) for block in group.blocks}
    numbered = ((of_block[block], kept) for block, kept in enumerate(plan))
    return REST + sum(HEADS[group][kept.heads] + CHANNELS[group][kept.channels] for group, kept in numbered)


def test_exact_sums_are_taken_apart_exactly() -> None:
    plans = plans_to_time(DENSE, GROUPS)

    found = fit(plans, np.array([nanoseconds(plan) for plan in plans]) / 1e9, GROUPS)

    assert found.rest == REST
    for cost, heads, channels in zip(found.costs, HEADS, CHANNELS, strict=True):
        assert dict(zip(cost.attention.widths, cost.attention.nanoseconds, strict=True)) == heads
        assert dict(zip(cost.mlp.widths, cost.mlp.nanoseconds, strict=True)) == channels


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_whatever_was_measured_costs_are_never_negative_and_never_fall(seed: int, noise: float) -> None:
    plans = plans_to_time(DENSE, GROUPS)
    factor = np.exp(noise * np.random.default_rng(seed).normal(size=len(plans)))

    found = fit(plans, np.array([nanoseconds(plan) for plan in plans]) / 1e9 * factor, GROUPS)

    assert found.rest >= 0
    for half in (half for cost in found.costs for half in (cost.attention, cost.mlp)):
        assert half.nanoseconds[0] == 0
        assert list(half.nanoseconds) == sorted(half.nanoseconds)


def test_a_little_noise_moves_predictions_a_little() -> None:
    plans, others = plans_to_time(DENSE, GROUPS), random_plans(GROUPS, 20, 0)
    factor = 1 + 0.02 * np.random.default_rng(0).normal(size=len(plans))

    found = fit(plans, np.array([nanoseconds(plan) for plan in plans]) / 1e9 * factor, GROUPS)

    by_block = {block: cost for cost in found.costs for block in cost.blocks}
    for plan in others:
        kept = [(by_block[block], half) for block, half in enumerate(plan)]
        predicted = found.rest + sum(cost.attention.at(h) + cost.mlp.at(c) for cost, (h, c) in kept)
        assert predicted == pytest.approx(nanoseconds(plan), rel=0.05)


def test_the_timed_plans_say_everything_that_is_asked() -> None:
    plans = plans_to_time(DENSE, GROUPS)

    assert plans[:2] == [DENSE, (BlockPlan(0, 0),) * 4]
    assert len(set(plans)) == len(plans)
    for group in GROUPS:
        for block in group.blocks:
            assert {plan[block].heads for plan in plans} == set(group.heads)
            assert {plan[block].channels for plan in plans} == set(group.channels)


def test_random_plans_are_drawn_from_measured_widths_and_by_their_seed() -> None:
    plans = random_plans(GROUPS, 6, seed=1)

    assert plans == random_plans(GROUPS, 6, seed=1) != random_plans(GROUPS, 6, seed=2)
    for plan in plans:
        for group in GROUPS:
            assert all(plan[b].heads in group.heads and plan[b].channels in group.channels for b in group.blocks)
    assert all(min(block) > 0 for plan in plans[1:] for block in plan)


def test_equal_blocks_are_one_group(tiny_checkpoint: Checkpoint) -> None:
    assert groups_of(tiny_checkpoint.architecture) == (Group((0, 1), (0, 1, 2, 3, 4), (0, 32, 64, 96, 128)),)


def test_blocks_of_equal_width_at_other_resolutions_are_other_groups() -> None:
    dense = (BlockPlan(2, 4),) * 3
    factors = (1, 4, 1)  # the middle block sees four times the tokens

    def macs(plan: StagePlan) -> int:
        return sum(factor * (10 * kept.heads + kept.channels) for factor, kept in zip(factors, plan, strict=True))

    found = groups_of(cast(Architecture, SimpleNamespace(dense=dense, macs=macs)))

    assert [group.blocks for group in found] == [(0, 2), (1,)]
