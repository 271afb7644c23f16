"""Every level is a prefix: which rows of which stored tensor a stage plan reads.

The same resolution serves torch (views), the exporter (byte ranges) and the memory accounts.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from diffes.architectures import Architecture, PrunableLayer
from diffes.pruning.mode import Compensation
from diffes.schedule import StagePlan


@dataclass(frozen=True, slots=True)
class Prefix:
    """The first `rows` rows of a stored tensor (all of it: None)."""

    tensor: str
    rows: int | None = None

    def of(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """The view; shares the stored tensor's memory."""
        whole = tensors[self.tensor]
        return whole if self.rows is None else whole[: self.rows]


def compensated_name(name: str, kept: int) -> str:
    """Where the version of a projection, factor or bias for `kept` units is stored."""
    return f"{name}.keep{kept}"


def resolve(
    architecture: Architecture,
    plan: StagePlan,
    compensation: Compensation,
    stored_rows: Mapping[str, int],
) -> dict[str, Prefix]:
    """For each tensor the denoiser of `plan` reads, the prefix it is.

    `stored_rows` gives the leading size of the stored tensors. Empty prefixes (a skipped half) are left out.
    """
    found = {name: Prefix(name) for name in architecture.step_weights()}
    for layer in architecture.layers:
        kept = layer.kept(plan)
        for name in (*layer.sliced, layer.projection):
            if kept == 0:
                del found[name]
            elif kept < layer.units:
                found[name] = Prefix(name, stored_rows[name] // layer.units * kept)
        if kept == 0 and compensation.kind != "low-rank":
            for name in layer.norm:
                del found[name]
        if kept < layer.units:
            found.update(_compensated(layer, kept, compensation))
    return found


def _compensated(layer: PrunableLayer, kept: int, compensation: Compensation) -> dict[str, Prefix]:
    if compensation.kind == "none":
        return {}
    replaced = {layer.bias: Prefix(compensated_name(layer.bias, kept))}
    if compensation.kind == "full" and kept > 0:
        replaced[layer.projection] = Prefix(compensated_name(layer.projection, kept))
    if compensation.kind == "low-rank":
        replaced[layer.left] = Prefix(layer.left)
        replaced[layer.right] = Prefix(compensated_name(layer.right, kept))
    return replaced


def used_keeps(architecture: Architecture, plans: Iterable[StagePlan]) -> dict[PrunableLayer, list[int]]:
    """Kept unit counts below dense that the plans use, per layer, ascending."""
    plans = list(plans)
    return {layer: sorted({layer.kept(plan) for plan in plans} - {layer.units}) for layer in architecture.layers}
