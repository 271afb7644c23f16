"""Loads of images on paths of any shape, for properties that must hold whatever comes."""

from dataclasses import dataclass, field
from math import inf

from hypothesis import strategies as st

from diffes.engine.costs import StepCosts
from diffes.engine.scheduling import BatchKey
from diffes.engine.simulation import Arrival

SUBGRAPHS = ("wide", "middle", "narrow")


def key(subgraph: str, *, guided: bool = True) -> BatchKey:
    return BatchKey(subgraph, guided, (3, 8, 8), 1.0)


def path(*subgraphs: str, guided: bool = True) -> tuple[BatchKey, ...]:
    return tuple(key(subgraph, guided=guided) for subgraph in subgraphs)


def proportional(**seconds: float) -> StepCosts:
    """Costs of subgraphs by what one guided image takes: twice as many take twice as long."""
    return StepCosts({name: {2: one, 64: 32 * one} for name, one in seconds.items()})


def constant(**seconds: float) -> StepCosts:
    """Costs that company does not change."""
    return StepCosts({name: {1: one, 64: one} for name, one in seconds.items()})


LONG = path(*"aaaabbbbccccdddd")


@dataclass(eq=False)
class At:
    """An image between two steps."""

    step: int
    keys: tuple[BatchKey, ...] = LONG
    due: float = inf
    alone: bool = False
    passed_over: int = 0
    request: object = field(default_factory=object)

    @property
    def key(self) -> BatchKey:
        return self.keys[self.step]


paths = st.lists(st.sampled_from(SUBGRAPHS), min_size=1, max_size=8).map(lambda names: path(*names))


@st.composite
def loads(draw: st.DrawFn) -> list[Arrival]:
    """Up to ten images, in order of their coming, on up to three paths; some alone, some due, some of one request."""
    ways = draw(st.lists(paths, min_size=1, max_size=3))
    count = draw(st.integers(1, 10))
    times = sorted(draw(st.lists(st.floats(0, 20), min_size=count, max_size=count)))
    return [
        Arrival(
            at,
            draw(st.sampled_from(ways)),
            due=draw(st.sampled_from([float("inf"), at + 5.0])),
            alone=draw(st.booleans()) and draw(st.booleans()),
            request=draw(st.sampled_from(["one", "other", object()])),
        )
        for at in times
    ]


@st.composite
def tables(draw: st.DrawFn) -> StepCosts:
    """Costs that rise with rows, a little or as fast as they do; of some subgraphs nothing may be known."""
    known = draw(st.lists(st.sampled_from(SUBGRAPHS), unique=True))
    costs = {}
    for name in known:
        one, growth = draw(st.floats(0.01, 2)), draw(st.floats(0, 1))
        costs[name] = {rows: one * (1 + growth * (rows - 1)) for rows in (1, 2, 4, 16)}
    return StepCosts(costs, draw(st.sampled_from([(), (1, 2, 4, 8, 16)])))
