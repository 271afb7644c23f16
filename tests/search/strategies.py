"""Random budgets and genomes within them."""

import numpy as np
from hypothesis import strategies as st

from search.budget import Budget, Levels


@st.composite
def budgets(draw: st.DrawFn, *, most_stages: int = 4, most_levels: int = 4) -> Budget:
    """A budget of random gene costs, some genes worthless, that can be reached."""
    genes = 2 * draw(st.integers(1, most_stages))
    levels = draw(st.integers(1, most_levels))
    parts = [draw(st.lists(st.integers(0, 50), min_size=levels, max_size=levels)) for _ in range(genes)]
    frozen = [draw(st.booleans()) and draw(st.booleans()) for _ in range(genes)]
    rows = [[0, *np.cumsum([0 if idle else max(p, 1) for p in row])] for row, idle in zip(parts, frozen, strict=True)]
    savings = np.array(rows, dtype=np.int64)
    reachable = int(savings[:, -1].sum())
    return Budget(savings, dense=reachable + draw(st.integers(1, 100)), wanted=draw(st.integers(0, reachable)))


def any_levels(budget: Budget, random: np.random.RandomState) -> Levels:
    """Levels drawn without regard to the budget."""
    genes, levels = budget.savings.shape
    return np.array([random.randint(levels) for _ in range(genes)], dtype=np.int64)
