"""How far a candidate's samples are from the dense model's: smaller is better, 0 is equal."""

from collections.abc import Callable

from torch import Tensor

from diffes.quality.similarity import mean_squared_error, structural_similarity
from search.options import ObjectiveName

Objective = Callable[[Tensor, Tensor], float]


def _dissimilarity(samples: Tensor, dense: Tensor) -> float:
    return 1 - structural_similarity(samples, dense)


OBJECTIVES: dict[ObjectiveName, Objective] = {"mse": mean_squared_error, "ssim": _dissimilarity}
