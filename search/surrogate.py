"""A prediction of objectives that needs no denoising: the error table's entries, added up.

It is not refitted to rollouts: a scale per stage (ridge regression of log objectives) ranked a dozen genomes of the
bundled model no better than the table by itself (Spearman .95, four block groups, 37.5 %).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from search.budget import Levels
from search.error_table import Errors


@dataclass(frozen=True)
class Surrogate:
    """Errors [genes, levels + 1] of one gene alone; a genome's is their sum."""

    errors: Errors

    def predicted(self, genome: Sequence[int] | Levels) -> float:
        """The objective the errors add up to."""
        return float(self.errors[np.arange(len(genome)), np.asarray(genome)].sum())
