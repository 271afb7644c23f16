"""A search on many devices: a pool hands tasks to workers, which are processes of this machine or actors on Ray.

What a worker computes depends on its task alone, so a search finds the same whoever takes part and whoever is lost.
"""

from search.distributed.local import LocalWorkers
from search.distributed.ray import RayWorkers
from search.distribution import Distribution, Serial

__all__ = ["LocalWorkers", "RayWorkers", "distribution_for"]


def distribution_for(workers: int | None, ray: str | None) -> Distribution:
    """What a command line asks for: Ray at an address, so many processes here, or neither."""
    if ray is not None:
        return RayWorkers(ray, workers)
    return Serial() if workers is None else LocalWorkers(workers)
