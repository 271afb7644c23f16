"""The choice of a batch: nothing lost, nothing twice, nobody starved, whatever comes when."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from diffes.engine.batch import BatchKey, choose


@dataclass(eq=False)
class Walker:
    """An image as the choice sees it: the subgraphs its steps need."""

    route: tuple[int, ...]
    step: int = 0
    waited: int = 0
    bound: int = 0

    @property
    def key(self) -> BatchKey:
        return BatchKey(f"step{self.route[self.step]}", True, (3, 8, 8), 1.0)


routes = st.lists(st.integers(0, 3), min_size=1, max_size=12).map(tuple)
arrivals = st.lists(st.tuples(st.integers(0, 5), routes), max_size=20)


@given(arrivals, st.integers(1, 6))
def test_every_image_takes_every_step_once_and_waits_no_longer_than_its_elders_need(
    arrivals: list[tuple[int, tuple[int, ...]]], most: int
) -> None:
    expected = sum(len(route) for _, route in arrivals)
    running: list[Walker] = []
    taken = 0
    while arrivals or running:
        if arrivals:
            pause, route = arrivals.pop(0)
            bound = sum(len(elder.route) - elder.step for elder in running)
            running.append(Walker(route, bound=bound))
        else:
            pause = 1
        for _ in range(pause):
            batch = choose(running, most)
            taken += len(batch)
            assert len(set(map(id, batch))) == len(batch) <= most
            assert len({walker.key for walker in batch}) <= 1
            assert bool(batch) == bool(running)
            for walker in running:
                walker.waited += walker not in batch
                assert walker.waited <= walker.bound
            for walker in batch:
                walker.step += 1
            running = [walker for walker in running if walker.step < len(walker.route)]
    assert taken == expected


@given(st.lists(routes, min_size=1, max_size=20), st.integers(1, 6))
def test_the_oldest_goes_first_and_the_oldest_of_its_key_with_it(routes: list[tuple[int, ...]], most: int) -> None:
    running = [Walker(route) for route in routes]
    batch = choose(running, most)
    assert batch[0] is running[0]
    alike = [walker for walker in running if walker.key == running[0].key]
    assert batch == alike[:most]


def test_nothing_to_run_is_an_empty_batch() -> None:
    assert choose([], 8) == []
