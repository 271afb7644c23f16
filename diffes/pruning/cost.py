"""What a stage plan costs under a compensation mode: the architecture's own cost and that of the factors.

Sums are over blocks and their halves, so a half's share depends on what that half keeps and on nothing else. What is
stored is the exception: plans that keep as much of a layer share what makes up for the rest.
"""

from collections.abc import Iterable

from diffes.architectures import Architecture, PrunableLayer
from diffes.checkpoint import Checkpoint
from diffes.pruning.mode import Compensation
from diffes.pruning.prefix import used_keeps
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


def weights_of_dense(checkpoint: Checkpoint, plans: Iterable[StagePlan], compensation: Compensation) -> float:
    """All weights that an export of these plans and the dense model stores, over the dense model's alone."""
    return 1 + compensated_numbers(checkpoint.architecture, plans, compensation) / checkpoint.numbers


def compensated_numbers(architecture: Architecture, plans: Iterable[StagePlan], compensation: Compensation) -> int:
    """Numbers that an export of these plans stores beside the dense model's weights."""
    used = {layer: keeps for layer, keeps in used_keeps(architecture, plans).items() if keeps}
    own = sum(stored_numbers(layer, kept, compensation) for layer, keeps in used.items() for kept in keeps)
    return own + sum(shared_numbers(layer, compensation) for layer in used)


def stored_numbers(layer: PrunableLayer, kept: int, compensation: Compensation) -> int:
    """Numbers stored for one width of a layer, whatever number of stages reads them: projection, factor and bias."""
    if compensation.kind == "none" or kept == layer.units:
        return 0
    of_kind = {"bias": 0, "full": kept * layer.width, "low-rank": min(compensation.rank, layer.entry)}
    return layer.outputs * (of_kind[compensation.kind] + 1)


def shared_numbers(layer: PrunableLayer, compensation: Compensation) -> int:
    """Numbers stored once for all pruned widths of a layer: low-rank's left factor."""
    return layer.entry * min(compensation.rank, layer.entry) if compensation.kind == "low-rank" else 0
