import numpy as np

from search.surrogate import Surrogate


def test_a_prediction_is_the_sum_of_its_genes_errors() -> None:
    surrogate = Surrogate(np.array([[0, 1.0, 2.0], [0, 10.0, 30.0]]))
    assert surrogate.predicted((2, 1)) == 12
    assert surrogate.predicted((0, 0)) == 0
