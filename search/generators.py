"""numpy's random generators as JSON, so that a search goes on with the numbers an unbroken one would have drawn."""

from typing import Any

import numpy as np

from search.budget import Random


def snapshot(random: Random) -> list[Any]:
    """The generator's state as JSON."""
    name, words, position, has_gauss, gauss = random.get_state(legacy=True)
    return [name, [int(word) for word in words], int(position), int(has_gauss), float(gauss)]


def restore(random: Random, state: Any) -> None:
    """Put a generator into a state that `snapshot` wrote."""
    name, words, position, has_gauss, gauss = state
    random.set_state((name, np.array(words, dtype=np.uint32), position, has_gauss, gauss))
