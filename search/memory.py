"""How much of the memory a search may fill with compensated weights.

Every width that some stage keeps of a layer needs a bias of its own, and with full compensation a projection, however
many stages keep it. Memory is therefore no sum over genes: it is saved by stages agreeing on few widths.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffes.checkpoint import Checkpoint
from diffes.errors import SearchError
from diffes.pruning.cost import shared_numbers, stored_numbers, weights_of_dense
from diffes.pruning.mode import Compensation
from search.budget import Budget
from search.genome import Genome, GenomeSpace
from search.palette import choose_palette


@dataclass(frozen=True)
class MemoryLimit:
    """All weights that an export stores are at most `limit` times the dense model's."""

    checkpoint: Checkpoint
    space: GenomeSpace
    compensation: Compensation
    limit: float

    def of_dense(self, genome: Genome) -> float:
        """All weights an export of a genome stores, over the dense model's alone."""
        return weights_of_dense(self.checkpoint, self.space.plans(genome), self.compensation)

    def holds(self, genome: Genome) -> bool:
        """Whether a genome is within the limit."""
        return self.of_dense(genome) <= self.limit

    def within(self, errors: NDArray[np.float64], budget: Budget) -> Budget:
        """The budget with those levels left that lose least, by errors [genes, levels + 1], and fit together.

        SearchError if nothing that saves enough fits.
        """
        palette = choose_palette(errors, budget, self._sizes(), self._room())
        if palette is None:
            raise SearchError(
                "the memory limit cannot be kept",
                expected=f"a schedule that saves {budget.wanted} {budget.unit}, its weights {self.limit:g} x dense's",
                found="compensated weights that need more",
                remedy="Allow more memory, remove less, or take compensation bias or none.",
            )
        return budget.only(np.tile(palette, (self.space.stages, 1)))

    def _sizes(self) -> NDArray[np.int64]:
        """Numbers stored for every level [genes of a stage, levels + 1] of a gene, once however many stages take it."""
        genes, levels = range(self.space.genes_of_stage), range(self.space.top + 1)
        return np.array([[self._size(gene, level) for level in levels] for gene in genes], dtype=np.int64)

    def _size(self, gene: int, level: int) -> int:
        plan = self.space.plans(self.space.single(gene, level))[0]
        layers = self.checkpoint.architecture.layers
        return sum(stored_numbers(layer, layer.kept(plan), self.compensation) for layer in layers)

    def _room(self) -> int:
        """Numbers that levels may store: what the limit leaves beside the dense model's and what all levels share."""
        shared = sum(shared_numbers(layer, self.compensation) for layer in self.checkpoint.architecture.layers)
        return int((self.limit - 1) * self.checkpoint.numbers) - shared
