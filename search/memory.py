"""How much of the memory a search may fill with compensated weights.

Every width that some stage keeps of a layer needs a bias of its own, and with full compensation a projection, however
many stages keep it. Memory is therefore no sum over genes: it is saved by stages agreeing on few widths.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffes.checkpoint import Checkpoint
from diffes.errors import SearchError
from diffes.pruning.cost import shared_numbers, stored_numbers
from diffes.pruning.mode import Compensation
from search.budget import Budget
from search.genome import Genome, GenomeSpace
from search.palette import Palette, choose_palette


@dataclass(frozen=True)
class MemoryLimit:
    """Numbers stored for each level [genes of a stage, levels + 1], for all levels of a gene, and by the dense model.

    `limit` is the most that all weights together may be, of the dense model's.
    """

    sizes: NDArray[np.int64]
    shared: NDArray[np.int64]
    dense: int
    limit: float

    @classmethod
    def of(cls, checkpoint: Checkpoint, space: GenomeSpace, compensation: Compensation, limit: float) -> "MemoryLimit":
        """The accounts of a genome space."""
        layers = checkpoint.architecture.layers
        sizes = np.zeros((space.genes_of_stage, space.top + 1), dtype=np.int64)
        shared = np.zeros(space.genes_of_stage, dtype=np.int64)
        for index in range(space.genes_of_stage):
            gene = space.gene(index)
            first = space.first_block(gene.group)
            blocks = range(first, first + space.groups[gene.group])
            own = [layer for layer in layers if layer.block in blocks and layer.kind in gene.kinds]
            shared[index] = sum(shared_numbers(layer, compensation) for layer in own)
            for level in range(1, space.top + 1):
                keeps = [layer.units - layer.units * level // space.grid.parts for layer in own]
                stored = (stored_numbers(layer, kept, compensation) for layer, kept in zip(own, keeps, strict=True))
                sizes[index, level] = sum(stored)
        dense = sum(tensor.numel() for tensor in checkpoint.weights().values())
        return cls(sizes, shared, dense, limit)

    @property
    def room(self) -> int:
        """Numbers that may be stored beside the dense model's."""
        return int((self.limit - 1) * self.dense)

    def of_dense(self, genome: Genome) -> float:
        """All weights an export of a genome stores, over the dense model's alone."""
        genes, levels = self.sizes.shape
        used = np.zeros((genes, levels), dtype=np.bool_)
        for index, level in enumerate(genome):
            used[index % genes, level] = True
        stored = int(self.sizes[used].sum()) + int(self.shared[used[:, 1:].any(axis=1)].sum())
        return 1 + stored / self.dense

    def holds(self, genome: Genome) -> bool:
        """Whether a genome is within the limit."""
        return self.of_dense(genome) <= self.limit

    def within(self, errors: NDArray[np.float64], budget: Budget) -> Budget:
        """The budget with those levels left that lose least, by errors [genes, levels + 1], and fit together.

        SearchError if nothing that saves enough fits.
        """
        room = self.room - int(self.shared.sum())
        palette = choose_palette(errors, budget, Palette(self.sizes, room)) if room >= 0 else None
        if palette is None:
            raise SearchError(
                "the memory limit cannot be kept",
                expected=f"a schedule that saves {budget.wanted} {budget.unit}, its weights {self.limit:g} x dense's",
                found="compensated weights that need more",
                remedy="Allow more memory, remove less, or take compensation bias or none.",
            )
        return budget.only(np.tile(palette, (len(errors) // len(palette), 1)))
