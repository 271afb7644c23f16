from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffes.errors import ScheduleError, SearchError
from diffes.schedule import BlockPlan
from search.genome import Depth, Gene, GenomeSpace, Widths

DENSE = (BlockPlan(8, 1024), BlockPlan(16, 2048), BlockPlan(8, 1024), BlockPlan(8, 512), BlockPlan(8, 1024))
SPACE = GenomeSpace.of(DENSE, stages=3)


@st.composite
def spaces(draw: st.DrawFn) -> GenomeSpace:
    genes = draw(st.sampled_from(["stage", "block", *(f"group:{n}" for n in range(1, 6))]))
    widths, depth = draw(st.sampled_from(get_args(Widths))), draw(st.sampled_from(get_args(Depth)))
    return GenomeSpace.of(DENSE, draw(st.integers(1, 3)), genes, widths, depth)


@given(spaces(), st.data())
def test_plans_and_genome_say_the_same(space: GenomeSpace, data: st.DataObject) -> None:
    levels = data.draw(st.lists(st.integers(0, space.top), min_size=space.genes, max_size=space.genes))
    assert space.genome(space.plans(levels)) == tuple(levels)


@given(spaces())
def test_the_dense_genome_means_dense_plans(space: GenomeSpace) -> None:
    assert space.plans(space.dense) == [DENSE] * space.stages


@given(spaces(), st.data())
def test_a_gene_prunes_its_kinds_in_its_group_of_its_stage_alone(space: GenomeSpace, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, space.genes - 1))
    gene = space.gene(index)
    plans = space.plans(space.single(index, space.top))
    first = space.first_block(gene.group)
    for stage, plan in enumerate(plans):
        for block, (kept, whole) in enumerate(zip(plan, DENSE, strict=True)):
            inside = stage == gene.stage and first <= block < first + space.groups[gene.group]
            assert (kept.heads < whole.heads) == (inside and "heads" in gene.kinds)
            assert (kept.channels < whole.channels) == (inside and "channels" in gene.kinds)


@given(spaces())
def test_groups_are_contiguous_cover_every_block_and_differ_by_at_most_one(space: GenomeSpace) -> None:
    assert sum(space.groups) == len(DENSE)
    assert max(space.groups) - min(space.groups) <= 1


def test_the_papers_space_has_one_gene_per_stage() -> None:
    space = GenomeSpace.of(DENSE, 10, "stage", "tied")
    assert space.genes == 10
    assert space.plan([4])[1] == BlockPlan(8, 1024)


def test_every_block_of_every_stage_may_have_two_genes() -> None:
    space = GenomeSpace.of(DENSE, 2, "block")
    assert space.genes == 20
    assert [space.gene(i) for i in (0, 1, 19)] == [
        Gene(0, 0, ("heads",)),
        Gene(0, 0, ("channels",)),
        Gene(1, 4, ("channels",)),
    ]
    assert space.gene(19).name == "1/4/channels"
    assert GenomeSpace.of(DENSE, 2, "block", "tied").gene(9).name == "1/4/both"


def test_depth_alone_keeps_or_skips_whole_blocks() -> None:
    space = GenomeSpace.of(DENSE, 1, "block", depth="alone")
    assert space.plan([0, 1, 0, 0, 1]) == (DENSE[0], BlockPlan(0, 0), DENSE[2], DENSE[3], BlockPlan(0, 0))
    assert space.top == 1


def test_without_depth_something_of_every_half_is_kept() -> None:
    space = GenomeSpace.of(DENSE, 1, depth="none")
    assert all(min(block) > 0 for block in space.plan([space.top] * 2))


def test_a_genome_of_another_length_is_refused() -> None:
    with pytest.raises(SearchError, match="expected 6, found 5"):
        SPACE.plans([0] * 5)


def test_a_schedule_of_other_stages_has_no_genome() -> None:
    with pytest.raises(SearchError, match="other stages: expected 3, found 2"):
        SPACE.genome([DENSE] * 2)


def test_a_plan_that_treats_a_groups_blocks_unequally_has_no_genome() -> None:
    plan = (BlockPlan(4, 1024), *DENSE[1:])
    with pytest.raises(SearchError, match=r"stage 1 has no genome.*one heads level .* in blocks 0\.\.4"):
        SPACE.genome([DENSE, plan, DENSE])
    assert GenomeSpace.of(DENSE, 1, "block").genome([plan])[0] == 4


def test_a_plan_with_other_widths_or_depth_has_no_genome() -> None:
    half = (BlockPlan(0, 1024), *DENSE[1:])
    with pytest.raises(SearchError, match="one level for heads and channels"):
        GenomeSpace.of(DENSE, 1, "block", "tied").genome([half])
    with pytest.raises(SearchError, match="at most 7"):
        GenomeSpace.of(DENSE, 1, "block", depth="none").genome([half])


def test_a_plan_between_the_levels_has_no_genome() -> None:
    with pytest.raises(ScheduleError, match="block 0 lies between the levels"):
        GenomeSpace.of(DENSE, 1, "block", depth="alone").genome([(BlockPlan(4, 512), *DENSE[1:])])


@pytest.mark.parametrize("genes", ["group:0", "group:6", "group:", "layer", "group:-1"])
def test_groups_that_cannot_be_are_refused(genes: str) -> None:
    with pytest.raises(SearchError, match=rf"group:N with N of 1\.\.5, found {genes}"):
        GenomeSpace.of(DENSE, 3, genes)


def test_a_space_of_one_genome_is_refused() -> None:
    with pytest.raises(SearchError, match="this space has one genome"):
        GenomeSpace.of((BlockPlan(1, 8),), 2, depth="none")
