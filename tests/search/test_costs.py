import pytest
from torch import Tensor

from diffes.checkpoint import Checkpoint
from diffes.errors import SearchError
from diffes.pruning.calibration import Calibration
from diffes.pruning.model import PrunedModel
from diffes.schedule import StagePlan
from search.budget import budget_for
from search.costs import cost_of
from search.genome import GenomeSpace
from search.problem import Problem
from tests.search.conftest import small_options


class Nanoseconds:
    """A latency table of made-up times: a step costs 100 and 7 a head; one channel group is slower than two."""

    def latency(self, plan: StagePlan) -> int:
        return 100 + sum(7 * block.heads + (30 if block.channels == 32 else block.channels // 8) for block in plan)


def test_a_weights_budget_counts_the_bytes_a_step_reads_and_adds_up(
    tiny_checkpoint: Checkpoint, tiny_weights: dict[str, Tensor], tiny_calibration: Calibration
) -> None:
    architecture = tiny_checkpoint.architecture
    model = PrunedModel(architecture, tiny_weights, tiny_calibration, "none")
    cost = cost_of(tiny_checkpoint, small_options(macs=None, weights=0.2, compensation="none"), None)
    space = GenomeSpace.of(architecture.dense, 1, "block")
    for genome in ([0, 0, 0, 0], [1, 0, 3, 2], [4, 4, 0, 1]):
        plan = space.plan(genome)
        assert cost.of(plan) == sum(4 * tensor.numel() for tensor in model.denoiser(plan).parameters())
    assert budget_for(space, cost.of, [1], 0.5, cost.unit).feasible([4] * 4)


def test_the_factors_of_low_rank_compensation_cost_too(tiny_checkpoint: Checkpoint) -> None:
    for budget in ("macs", "weights"):
        asked = {"macs": None, budget: 0.2}
        plain, corrected = (
            cost_of(tiny_checkpoint, small_options(compensation=mode, **asked), None) for mode in ("none", "low-rank:2")
        )
        dense = tiny_checkpoint.architecture.dense
        pruned = GenomeSpace.of(dense, 1).plan([1, 1])
        assert plain.of(dense) == corrected.of(dense)
        assert plain.of(pruned) < corrected.of(pruned)


def test_a_latency_budget_keeps_its_target_though_a_level_is_slower_than_the_one_before(
    tiny_checkpoint: Checkpoint,
) -> None:
    options = small_options(macs=None, latency=0.2, latency_table="table.json")
    problem = Problem.of(tiny_checkpoint, options, Nanoseconds())
    assert problem.budget.unit == "latency"
    assert problem.budget.dense == 4 * Nanoseconds().latency(tiny_checkpoint.architecture.dense)
    assert not problem.budget.useful[:, 3].all()


def test_a_latency_budget_without_a_table_is_refused(tiny_checkpoint: Checkpoint) -> None:
    options = small_options(macs=None, latency=0.2, latency_table="table.json")
    with pytest.raises(SearchError, match="needs measured latencies.*--latency-table"):
        cost_of(tiny_checkpoint, options, None)


def test_other_latencies_are_another_budget(tiny_checkpoint: Checkpoint) -> None:
    class Slower(Nanoseconds):
        def latency(self, plan: StagePlan) -> int:
            return super().latency(plan) + 1

    options = small_options(macs=None, latency=0.2, latency_table="table.json")
    digests = [Problem.of(tiny_checkpoint, options, table).budget_digest for table in (Nanoseconds(), Slower())]
    assert digests[0] != digests[1]
