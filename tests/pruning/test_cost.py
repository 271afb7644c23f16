import pytest
from torch import Tensor

from diffes.checkpoint import Checkpoint
from diffes.pruning.calibration import Calibration
from diffes.pruning.cost import compensated_numbers, plan_macs, plan_weight_bytes
from diffes.pruning.mode import Compensation
from diffes.pruning.model import PrunedModel
from diffes.schedule import BlockPlan, StagePlan

PLANS: list[StagePlan] = [
    (BlockPlan(4, 128), BlockPlan(4, 128)),
    (BlockPlan(2, 64), BlockPlan(4, 0)),
    (BlockPlan(0, 0), BlockPlan(1, 7)),
]
MODES = ["none", "bias", "low-rank:4", "low-rank:99", "full"]


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("mode", MODES)
def test_weight_bytes_are_those_of_what_the_denoiser_reads(
    tiny_checkpoint: Checkpoint,
    tiny_weights: dict[str, Tensor],
    tiny_calibration: Calibration,
    plan: StagePlan,
    mode: str,
) -> None:
    dit = tiny_checkpoint.architecture
    model = PrunedModel(dit, tiny_weights, tiny_calibration, mode)
    read = sum(tensor.nbytes for tensor in model.denoiser(plan).parameters())
    assert plan_weight_bytes(dit, plan, Compensation.parse(mode)) == read


@pytest.mark.parametrize("mode", MODES)
def test_compensated_numbers_are_those_that_the_plans_together_store(
    tiny_checkpoint: Checkpoint, tiny_weights: dict[str, Tensor], tiny_calibration: Calibration, mode: str
) -> None:
    dit = tiny_checkpoint.architecture
    model = PrunedModel(dit, tiny_weights, tiny_calibration, mode)
    dense = set(model.tensors)
    for plan in PLANS:
        model.denoiser(plan)
    stored = sum(tensor.numel() for name, tensor in model.tensors.items() if name not in dense)
    assert compensated_numbers(dit, PLANS, Compensation.parse(mode)) == stored


@pytest.mark.parametrize("plan", PLANS)
def test_macs_count_a_factor_number_once_for_every_token(tiny_checkpoint: Checkpoint, plan: StagePlan) -> None:
    dit, mode = tiny_checkpoint.architecture, Compensation("low-rank", 4)
    pruned = sum(layer.kept(plan) < layer.units for layer in dit.layers)
    assert plan_macs(dit, plan, mode) - dit.macs(plan) == pruned * 16 * 4 * (32 + 32)
    for other in ("none", "bias", "full"):
        assert plan_macs(dit, plan, Compensation.parse(other)) == dit.macs(plan)


def test_the_cost_is_a_sum_over_blocks_and_their_halves(tiny_checkpoint: Checkpoint) -> None:
    dit, mode = tiny_checkpoint.architecture, Compensation("low-rank", 4)
    dense, heads, channels = dit.dense, (BlockPlan(2, 128), BlockPlan(4, 128)), (BlockPlan(4, 128), BlockPlan(4, 0))
    both = (BlockPlan(2, 128), BlockPlan(4, 0))
    for cost in (plan_macs, plan_weight_bytes):
        whole = cost(dit, dense, mode)
        assert cost(dit, both, mode) - whole == cost(dit, heads, mode) - whole + cost(dit, channels, mode) - whole
