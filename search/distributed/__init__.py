"""A search on many devices: a pool hands tasks to workers, which are processes of this machine or actors on Ray.

What a worker computes depends on its task alone, so a search finds the same whoever takes part and whoever is lost.
"""

from search.distributed.local import LocalWorkers
from search.distributed.ray import RayWorkers

__all__ = ["LocalWorkers", "RayWorkers"]
