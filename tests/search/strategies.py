"""Random spaces, budgets and genomes within them. Savings may fall with the level and be negative."""

from dataclasses import replace
from typing import get_args

import numpy as np
from hypothesis import strategies as st

from diffes.schedule import BlockPlan
from search.budget import Budget, Levels
from search.budget_range import BudgetRange
from search.genome import Depth, GenomeSpace, Widths


@st.composite
def spaces(draw: st.DrawFn, *, most_stages: int = 3, most_blocks: int = 3, parts: int = 4) -> GenomeSpace:
    """Any space of blocks of `parts` heads."""
    blocks = draw(st.integers(1, most_blocks))
    genes = draw(st.sampled_from(["stage", "block", *(f"group:{n + 1}" for n in range(blocks))]))
    widths, depth = draw(st.sampled_from(get_args(Widths))), draw(st.sampled_from(get_args(Depth)))
    dense = (BlockPlan(parts, 16 * parts),) * blocks
    return GenomeSpace.of(dense, draw(st.integers(1, most_stages)), genes, widths, depth)


@st.composite
def budgets_of(draw: st.DrawFn, space: GenomeSpace) -> Budget:
    """A budget of random gene costs, some stages worthless, that can be reached."""
    row = st.lists(st.integers(-20, 50), min_size=space.top, max_size=space.top)
    rows = [[0, *draw(row)] for _ in range(space.genes)]
    savings = np.array(rows, dtype=np.int64)
    savings[np.repeat([draw(st.integers(0, 3)) == 0 for _ in range(space.stages)], space.genes_of_stage)] = 0
    reachable = int(savings.max(axis=1).sum())
    return Budget(savings, dense=reachable + draw(st.integers(1, 100)), wanted=draw(st.integers(0, reachable)))


@st.composite
def searches(draw: st.DrawFn, *, most_stages: int = 3, most_blocks: int = 3) -> tuple[GenomeSpace, Budget]:
    """A space and a budget of it."""
    space = draw(spaces(most_stages=most_stages, most_blocks=most_blocks))
    return space, draw(budgets_of(space))


@st.composite
def front_searches(draw: st.DrawFn) -> tuple[GenomeSpace, BudgetRange]:
    """A space and a range of budgets of it."""
    space, budget = draw(searches())
    wanted = draw(st.integers(budget.wanted, budget.reachable))
    return space, BudgetRange(budget, replace(budget, wanted=wanted))


def ranges() -> st.SearchStrategy[BudgetRange]:
    """A range of budgets that can be reached."""
    return front_searches().map(lambda search: search[1])


def any_levels(budget: Budget, random: np.random.RandomState) -> Levels:
    """Levels drawn without regard to the budget."""
    genes, levels = budget.savings.shape
    return np.array([random.randint(levels) for _ in range(genes)], dtype=np.int64)


def errors_for(budget: Budget, seed: int) -> "np.ndarray[tuple[int, int], np.dtype[np.float64]]":
    """Errors that rise with the level, from 0."""
    growth = np.random.RandomState(seed).random_sample(budget.savings.shape)
    growth[:, 0] = 0
    return np.cumsum(growth, axis=1)
