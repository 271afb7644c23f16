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
from diffes.prompts import Prompts, Rows, RowSpec
from diffes.schedule import BlockPlan, StagePlan

UnitKind = Literal["heads", "channels"]
Weights = Mapping[str, Tensor]
Conditions = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class PrunableLayer:
    """One half of one block: the tensors that shrink together when it loses units.

    `sliced` tensors lead with `units` equal groups of rows (pruned on their output side) and read the layer's entry,
    `entry` values wide. `projection` is stored [units * width, outputs] (pruned on its input side): `width` of its
    rows read one unit. `bias` is the projection's. An image has `rows` of these rows.
    """

    block: int
    kind: UnitKind
    units: int
    width: int
    sliced: tuple[str, ...]
    projection: str
    bias: str
    entry: int
    outputs: int
    rows: int

    @property
    def left(self) -> str:
        """Low-rank compensation's factor [entry, rank] that all levels share."""
        return self.projection.removesuffix("weight") + "left"

    @property
    def right(self) -> str:
        """Low-rank compensation's factor [rank, outputs]; each level has its own."""
        return self.projection.removesuffix("weight") + "right"

    def kept(self, plan: StagePlan) -> int:
        """Units this layer keeps under a stage plan."""
        block: BlockPlan = plan[self.block]
        return block.heads if self.kind == "heads" else block.channels


class Denoiser(Protocol):
    """One step's forward for one stage plan.

    forward(latents [B, C, H, W], **conditions, each [B, ...]) -> prediction [B, C, H, W]. If `tap` is set,
    it is called with (projection name, the projection's input [rows, units * width], the layer's entry [rows, entry])
    for every prunable layer. Where the weights hold a layer's factors `left` and `right`, entry @ left @ right is
    added to its output, skipped or not.
    If `entry` is set, it is called with (block, its input) for every block: what `resume` goes on from.
    """

    tap: "Tap | None"
    entry: "Entry | None"

    def __call__(self, latents: Tensor, **conditions: Tensor) -> Tensor: ...

    def resume(self, first: int, hidden: Tensor, /, **conditions: Tensor) -> Tensor:
        """The prediction of a step whose block `first` gets `hidden`: blocks before it are not run."""


class Tap(Protocol):
    """Sees the input of every pruned projection and the entry of its layer."""

    def __call__(self, projection: str, inputs: Tensor, entry: Tensor, /) -> None: ...


class Entry(Protocol):
    """Sees the input of every block."""

    def __call__(self, block: int, hidden: Tensor) -> None: ...


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

    def prompt_inputs(self) -> dict[str, RowSpec]:
        """What a prompt is, by name."""

    def features(self) -> dict[str, RowSpec]:
        """What the condition takes beside timesteps, by name. Without an encoder that is the prompt."""

    def examples(self) -> Prompts:
        """Prompts to look at a model with, in turn: of a family that knows classes, each of them."""

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
        """forward(timesteps [N] float32, **features, each [N, ...]) -> tuple of conditions, each [N, ...]."""

    def condition_names(self) -> tuple[str, ...]:
        """Names of the conditions, in the order the condition module returns them."""

    def condition_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each condition without its leading row axis."""

    def diffusers_inputs(self, timesteps: Tensor, features: Rows) -> dict[str, Tensor]:
        """What diffusers' model of this family takes beside latents: of timesteps [B] float32, features [B, ...]."""

    def macs(self, plan: StagePlan) -> int:
        """Multiply-accumulates of one row of one step (matmuls and attention; no condition, no compensation)."""

    def parameters(self, plan: StagePlan) -> int:
        """Numbers the denoiser of a plan reads (no condition, no compensation)."""


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
