"""The simulated clock: arrivals are served when they are there, and policies differ in what they should."""

import random
from collections.abc import Sequence
from statistics import mean, median

import pytest

from diffes.engine.admission import Forecast
from diffes.engine.catch_up import CatchUp
from diffes.engine.costs import StepCosts
from diffes.engine.policies import OldestFirst
from diffes.engine.scheduling import BatchKey, Image, Policy, Situation, StageScheduler
from diffes.engine.simulation import Arrival, simulate
from tests.engine.scenarios import LONG, path, proportional

SUBLINEAR = StepCosts({name: {2: 1.0, 4: 1.2, 8: 1.6, 16: 2.4} for name in "abcd"})


def poisson(rate: float, count: int = 300, keys: tuple[BatchKey, ...] = LONG) -> list[Arrival]:
    """So many arrivals, `rate` times as many as one image at a time could be served."""
    rng, now, arrivals = random.Random(0), 0.0, []
    for _ in range(count):
        now += rng.expovariate(rate / len(keys))
        arrivals.append(Arrival(now, keys))
    return arrivals


class Serial:
    def choose(self, running: Sequence[Image], _: Situation) -> list[Image]:
        return list(running[:1])


class Everyone:
    def choose(self, running: Sequence[Image], _: Situation) -> list[Image]:
        return list(running)


class WholeRequests:
    """Those who are there when nobody is on the way go together, from the first step to the last."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.group: list[int] = []

    def choose(self, running: Sequence[Image], _: Situation) -> list[Image]:
        group = [image for image in running if id(image) in self.group] or list(running[: self.most])
        self.group = [id(image) for image in group]
        return group


def saving(share: float) -> StepCosts:
    """Costs of which all but one image of a call save a share."""
    return StepCosts({name: {2 * k: k - share * (k - 1) for k in (1, 2, 4)} for name in "abcd"})


def served(load: list[Arrival], policy: Policy, costs: StepCosts, most: int = 8, offered: float = 0.0) -> list[float]:
    simulate(load, StageScheduler(policy, costs, most), costs, offered)
    return [image.latency for image in load]


def test_an_image_by_itself_takes_its_steps_from_when_it_comes() -> None:
    late = Arrival(7.5, path(*"aab"))
    batches = simulate([late], Serial(), StepCosts({"a": {2: 1.0}, "b": {2: 3.0}}))
    assert late.done_at == 7.5 + 5.0
    assert [len(batch) for batch in batches] == [1, 1, 1]


def test_who_comes_during_a_step_joins_after_it() -> None:
    load = [Arrival(0, path("a", "a")), Arrival(0.5, path("a", "a"))]
    batches = simulate(load, Everyone(), StepCosts({"a": {2: 1.0, 4: 1.0}}))
    assert [len(batch) for batch in batches] == [1, 2, 1]
    assert [image.done_at for image in load] == [2.0, 3.0]


@pytest.mark.parametrize("rate", [1.0, 1.5, 2.0])
def test_catching_up_serves_more_than_order_does_where_company_is_cheap(rate: float) -> None:
    in_order = served(poisson(rate), OldestFirst(), SUBLINEAR, offered=rate)
    caught_up = served(poisson(rate), CatchUp(SUBLINEAR, 8), SUBLINEAR, offered=rate)
    assert mean(caught_up) < mean(in_order)
    assert max(caught_up) < max(in_order)


@pytest.mark.parametrize("rate", [0.5, 0.8, 0.95])
def test_where_company_saves_nothing_images_are_served_one_after_the_other(rate: float) -> None:
    costs = proportional(a=1, b=1, c=1, d=1)

    one_by_one = poisson(rate)
    simulate(one_by_one, Serial(), costs)
    caught_up = served(poisson(rate), CatchUp(costs, 8), costs, offered=rate)
    assert caught_up == pytest.approx([image.latency for image in one_by_one])


@pytest.mark.parametrize("rate", [0.5, 0.8])
@pytest.mark.parametrize("saved", [0.03, 0.06])
def test_where_company_saves_little_nobody_is_kept_waiting_for_it(saved: float, rate: float) -> None:
    """Batching would: the median of whole groups is longer than that of one after the other."""
    costs = saving(saved)
    one_by_one = poisson(rate, 1000)
    simulate(one_by_one, Serial(), costs)
    ours = served(poisson(rate, 1000), CatchUp(costs, 4), costs, most=4, offered=rate)
    assert median(ours) <= 1.02 * median(image.latency for image in one_by_one)
    assert mean(ours) <= 1.02 * mean(image.latency for image in one_by_one)


@pytest.mark.parametrize("saved", [0.06, 0.12])
def test_what_company_saves_is_taken_where_more_comes_than_can_be_served_otherwise(saved: float) -> None:
    costs, rate = saving(saved), 1.1
    one_by_one = poisson(rate, 1000)
    simulate(one_by_one, Serial(), costs)
    ours = served(poisson(rate, 1000), CatchUp(costs, 4), costs, most=4, offered=rate)
    assert mean(ours) < 0.95 * mean(image.latency for image in one_by_one)


@pytest.mark.parametrize("rate", [1.2, 1.6, 2.0, 2.2])
def test_images_hardly_wait_longer_than_by_whole_requests_however_much_comes(rate: float) -> None:
    """Also beyond what can be served: stragglers of a full step are taken along by a crowd that waits behind them."""
    costs = saving(0.7)
    in_groups = poisson(rate, 1000)
    simulate(in_groups, WholeRequests(4), costs)
    ours = served(poisson(rate, 1000), CatchUp(costs, 4), costs, most=4, offered=rate)
    assert mean(ours) <= 1.1 * mean(image.latency for image in in_groups)


def hopper() -> tuple[StepCosts, tuple[BatchKey, ...]]:
    """Ten stages of two steps at what an H100 takes for DiT-XL/2, a batch padded to the next of its sizes."""
    names, milliseconds = "abcdefghij", {2: 1.28, 4: 1.65, 6: 2.01, 8: 2.46, 12: 3.41, 16: 4.30, 24: 6.51, 32: 8.49}
    seconds = {rows: each / 1.28 for rows, each in milliseconds.items()}
    costs = StepCosts({name: seconds for name in names}, tuple(seconds))
    return costs, path(*(name for name in names for _ in "12"))


@pytest.mark.parametrize("rate", [1.25, 1.75, 2.25])
def test_on_a_gpu_images_wait_less_than_by_whole_requests(rate: float) -> None:
    costs, way = hopper()
    in_groups, ours = (poisson(rate, 1500, way) for _ in range(2))
    simulate(in_groups, WholeRequests(16), costs)
    waited = served(ours, CatchUp(costs, 16), costs, most=16, offered=rate)
    assert mean(waited) < 0.95 * mean(image.latency for image in in_groups)


def in_time(images: list[Arrival], slack: float, alone: float) -> float:
    """Of all that came, done or not."""
    return mean(image.latency <= slack * alone * (1 + 1e-9) for image in images)


@pytest.mark.parametrize(("slack", "more"), [(2, 1.5), (4, 1.25), (6, 1.2)])
def test_with_deadlines_a_gpu_does_more_in_time_than_whole_requests_do_at_their_best_load(
    slack: float, more: float
) -> None:
    costs, way = hopper()
    alone, peer, ours = costs.remaining(way, 0), 0.0, 0.0
    for rate in (1.25, 1.5, 1.75):
        in_groups = poisson(rate, 1000, way)
        simulate(in_groups, WholeRequests(16), costs)
        peer = max(peer, rate * in_time(in_groups, slack, alone))
    for rate in (2.0, 2.5):
        images = poisson(rate, 1000, way)
        for image in images:
            image.due = image.at + slack * alone
        scheduler = StageScheduler(CatchUp(costs, 16), costs, 16)
        simulate(images, scheduler, costs, rate, Forecast(costs, 16))
        ours = max(ours, rate * in_time(images, slack, alone))
    assert ours > more * peer


@pytest.mark.parametrize("slack", [2, 4, 8])
def test_of_those_let_in_with_a_deadline_few_are_dropped_though_steps_take_longer_than_was_thought(
    slack: float,
) -> None:
    costs, way = hopper()
    slower = StepCosts(
        {name: {rows: 1.2 * each for rows, each in by.items()} for name, by in costs.measured.items()}, costs.buckets
    )
    alone, rate = slower.remaining(way, 0), 2.5
    images = [Arrival(1.2 * image.at, way) for image in poisson(rate, 3000, way)]
    for image in images:
        image.due = image.at + slack * alone
    scheduler = StageScheduler(CatchUp(costs, 16), costs, 16)
    simulate(images, scheduler, slower, rate, Forecast(costs, 16))
    dropped = [image for image in images if image.step > 0 and image.latency > slack * alone * (1 + 1e-9)]
    assert len(dropped) < 0.06 * len(images)
