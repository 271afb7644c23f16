"""What a model family must tell the rest of Diffes about itself.

A family names its tensors once, in a layout where every pruned tensor has its units on the leading axis: then
ordering is a permutation of that axis and every level is a prefix of it. Nothing outside this package knows a
family by name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from torch import Tensor, nn

from diffes.errors import CheckpointError
from diffes.schedule import BlockPlan, StagePlan

UnitKind = Literal["heads", "channels"]
Weights = Mapping[str, Tensor]
Conditions = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class PrunableLayer:
    """One half of one block: the tensors that shrink together when it loses units.

    `sliced` tensors lead with `units` equal groups of rows (pruned on their output side). `projection` is stored
    [units * width, out] (pruned on its input side): `width` of its rows read one unit. `bias` is the projection's.
    """

    block: int
    kind: UnitKind
    units: int
    width: int
    sliced: tuple[str, ...]
    projection: str
    bias: str

    def kept(self, plan: StagePlan) -> int:
        """Units this layer keeps under a stage plan."""
        block: BlockPlan = plan[self.block]
        return block.heads if self.kind == "heads" else block.channels


class Denoiser(Protocol):
    """One step's forward for one stage plan.

    forward(latents [B, C, H, W], **conditions, each [B, ...]) -> prediction [B, C, H, W]. If `tap` is set,
    it is called with (projection name, the projection's input [rows, units * width]) for every prunable layer.
    """

    tap: "Tap | None"

    def __call__(self, latents: Tensor, **conditions: Tensor) -> Tensor: ...


class Tap(Protocol):
    """Sees the input of every pruned projection."""

    def __call__(self, projection: str, inputs: Tensor) -> None: ...


class Architecture(Protocol):
    """One denoiser of a family, as its config describes it."""

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height, width of one image's latents."""

    @property
    def dense(self) -> StagePlan:
        """The plan that keeps everything."""

    @property
    def layers(self) -> tuple[PrunableLayer, ...]:
        """Every prunable layer, block by block."""

    @property
    def classes(self) -> int:
        """Number of labels; label `classes` is the unconditional one."""

    def convert(self, state: Weights) -> dict[str, Tensor]:
        """diffusers' state dict in this family's own names and layouts, tensors shared where possible."""

    def step_weights(self) -> tuple[str, ...]:
        """Names the denoiser reads; the other converted tensors belong to the condition."""

    def denoiser(self, plan: StagePlan, weights: Weights) -> nn.Module:
        """The `Denoiser` of a stage plan on tensors already cut to it.

        Its forward asks the tensors, not the plan, for kept counts (-1 in views), so that one traced graph serves
        every plan that skips the same halves.
        """

    def condition(self, weights: Weights) -> nn.Module:
        """forward(timesteps [N] float32, labels [N] int64) -> tuple of conditions, each [N, ...]."""

    def condition_names(self) -> tuple[str, ...]:
        """Names of the conditions, in the order the condition module returns them."""

    def condition_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each condition without its leading row axis."""

    def macs(self, plan: StagePlan) -> int:
        """Multiply-accumulates of one row of one step (matmuls and attention; no condition)."""


def parameters_of(weights: Weights) -> nn.Module:
    """Hold tensors under dotted names, as nested modules, without copying them."""
    root = nn.Module()
    for name, tensor in weights.items():
        node = root
        *path, leaf = name.split(".")
        for part in path:
            if not hasattr(node, part):
                node.add_module(part, nn.Module())
            node = node.get_submodule(part)
        node.register_parameter(leaf, nn.Parameter(tensor, requires_grad=False))
    return root


def require_keys(config: Mapping[str, Any], wanted: Mapping[str, Any], family: str) -> None:
    """CheckpointError unless `config` has each wanted key at the wanted value."""
    for key, value in wanted.items():
        if config.get(key) != value:
            raise CheckpointError(f"{family} config has an unsupported {key}", expected=value, found=config.get(key))
