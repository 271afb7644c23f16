"""What a stage plan costs under a compensation mode: the architecture's own cost and that of the factors.

Both sums are over blocks and their halves, so a half's share depends on what that half keeps and on nothing else.
"""

from diffes.architectures import Architecture, PrunableLayer
from diffes.pruning.mode import Compensation
from diffes.schedule import StagePlan


def plan_macs(architecture: Architecture, plan: StagePlan, compensation: Compensation) -> int:
    """Multiply-accumulates of one row of one step, factors included."""
    factors = sum(layer.rows * _factor_size(layer, plan, compensation) for layer in architecture.layers)
    return architecture.macs(plan) + factors


def plan_weight_bytes(
    architecture: Architecture, plan: StagePlan, compensation: Compensation, itemsize: int = 4
) -> int:
    """Bytes of weights the denoiser of one plan reads, factors included; a number takes `itemsize` bytes.

    Of one plan: plans share the ordered weights and the left factors, so a bundle holds far less than their sum.
    """
    factors = sum(_factor_size(layer, plan, compensation) for layer in architecture.layers)
    return itemsize * (architecture.parameters(plan) + factors)


def _factor_size(layer: PrunableLayer, plan: StagePlan, compensation: Compensation) -> int:
    """Numbers in both factors of one layer; a layer that keeps everything has none."""
    if compensation.kind != "low-rank" or layer.kept(plan) == layer.units:
        return 0
    return min(compensation.rank, layer.entry) * (layer.entry + layer.outputs)
