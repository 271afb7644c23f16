import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from search.generators import restore, snapshot


@given(st.integers(0, 1000), st.integers(0, 5))
def test_a_generator_restored_from_json_draws_what_the_other_would_have(seed: int, drawn: int) -> None:
    random, other = np.random.RandomState(seed), np.random.RandomState(0)
    random.standard_normal(drawn)
    restore(other, json.loads(json.dumps(snapshot(random))))
    assert other.standard_normal(7).tolist() == random.standard_normal(7).tolist()
    assert other.randint(1 << 30, size=5).tolist() == random.randint(1 << 30, size=5).tolist()
