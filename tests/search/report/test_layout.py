import pytest

from diffes.schedule import BlockPlan
from search.genome import KINDS, GenomeSpace
from search.report.layout import Layout

DENSE = (BlockPlan(4, 64),) * 6


@pytest.mark.parametrize("genes", ["stage", "group:4", "block"])
@pytest.mark.parametrize("widths", ["separate", "tied"])
def test_shares_kept_are_those_of_the_genomes_plans(genes: str, widths: str) -> None:
    space = GenomeSpace.of(DENSE, 3, genes, widths)  # type: ignore[arg-type]
    layout = Layout(space.grid.parts, space.groups, (2, 0, 1), space.tied)
    genome = tuple(index % (space.top + 1) for index in range(space.genes))
    heads, channels = (layout.kept(genome, kind) for kind in KINDS)
    for stage, plan in enumerate(space.plans(genome)):
        for group in range(len(space.groups)):
            block = plan[space.first_block(group)]
            assert (heads[group, stage], channels[group, stage]) == (block.heads / 4, block.channels / 64)


def test_every_block_is_in_one_named_row() -> None:
    layout = Layout(4, (1, 2, 1, 2), (1,), tied=False)
    assert layout.rows == ["block 0", "blocks 1–2", "block 3", "blocks 4–5"]
    assert Layout(4, (6,), (1,), tied=False).rows == ["all 6 blocks"]


def test_names_are_the_genomes_own() -> None:
    space = GenomeSpace.of(DENSE, 2, "group:3")
    layout = Layout(4, space.groups, (1, 1), space.tied)
    names = {layout.gene(stage, group, kind) for stage in range(2) for group in range(3) for kind in KINDS}
    assert names == {space.gene(index).name for index in range(space.genes)}
