"""What a model family must tell the rest of Diffes about itself.

A family names its tensors once, in a layout where every pruned tensor has its units on the leading axis: then
ordering is a permutation of that axis and every level is a prefix of it. Nothing outside this package knows a
family by name.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from torch import Tensor, nn

from diffes.errors import CheckpointError
from diffes.prompts import Numbers, Prompts, Rows, RowSpec
from diffes.schedule import BlockPlan, StagePlan
from diffes.sizes import WHOLE, Framing, Size

if TYPE_CHECKING:
    from diffes.architectures.texts import TextEncoders

UnitKind = Literal["heads", "channels"]
Weights = Mapping[str, Tensor]
Conditions = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class PrunableLayer:
    """One half of one block: the tensors that shrink together when it loses units.

    `sliced` tensors lead with `units` equal groups of rows (pruned on their output side) and read the layer's entry,
    `entry` values wide. `projection` is stored [units * width, outputs] (pruned on its input side): `width` of its
    rows read one unit. `bias` is the projection's. An image has `rows` of these rows. `ordered` tensors lead with the
    same units, but are no part of a step: they are permuted with the others and never cut. `norm` tensors make the
    entry and are read whole, by this layer alone: not at all where nothing asks for the entry.
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
    ordered: tuple[str, ...] = ()
    norm: tuple[str, ...] = ()

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
    If `entry` is set, it is called with (block, what it meets) for every block: what `resume` goes on from.
    """

    tap: "Tap | None"
    entry: "Entry | None"

    def __call__(self, latents: Tensor, **conditions: Tensor) -> Tensor: ...

    def resume(self, first: int, met: Any, /, **conditions: Tensor) -> Tensor:
        """The prediction of a step whose block `first` meets this: blocks before it are not run."""


class Tap(Protocol):
    """Sees the input of every pruned projection and the entry of its layer."""

    def __call__(self, projection: str, inputs: Tensor, entry: Tensor, /) -> None: ...


class Entry(Protocol):
    """Sees what every block meets: its input, and what else is on the way."""

    def __call__(self, block: int, met: Any, /) -> None: ...


class Architecture(Protocol):
    """One denoiser of a family, as its config describes it."""

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height, width of one image's latents."""

    @property
    def side_multiple(self) -> int | None:
        """What a side of latents of another size must be a multiple of; None if there is one size alone."""

    @property
    def dense(self) -> StagePlan:
        """The plan that keeps everything."""

    @property
    def layers(self) -> tuple[PrunableLayer, ...]:
        """Every prunable layer, block by block."""

    @property
    def texts(self) -> "TextEncoders | None":
        """The text encoders it reads; None of a family that knows classes, or is given their states."""

    @property
    def alone(self) -> "Architecture":
        """The same without text encoders, given their states."""

    def prompt_inputs(self) -> dict[str, RowSpec]:
        """What a prompt is, by name: with text encoders their inputs, and what `sizes` gives."""

    @property
    def framed(self) -> bool:
        """Whether it is told how an image was cut."""

    def sizes(self, size: Size, framing: Framing = WHOLE) -> dict[str, Numbers]:
        """What of a prompt tells the size of its image, and how it was cut where the family is told."""

    def features(self) -> dict[str, RowSpec]:
        """What the condition takes beside timesteps, by name. Without an encoder that is the prompt."""

    def examples(self) -> Prompts:
        """Rows to try a model with, in turn: of a family that knows classes, each of them; of others any that fit."""

    def convert(self, state: Weights) -> dict[str, Tensor]:
        """diffusers' state dict in this family's own names and layouts, tensors shared where possible."""

    def step_weights(self) -> tuple[str, ...]:
        """Names the denoiser reads."""

    def encoder_weights(self) -> tuple[str, ...]:
        """Names the encoder reads, none without one. What neither reads of the converted belongs to the condition."""

    def denoiser(self, plan: StagePlan, weights: Weights) -> nn.Module:
        """The `Denoiser` of a stage plan on tensors already cut to it.

        Its forward asks the tensors, not the plan, for kept counts (-1 in views), so that one traced graph serves
        every plan that skips the same halves.
        """

    def encoder(self, weights: Weights) -> nn.Module | None:
        """forward(**prompts, each [P, ...]) -> a tuple of features, then constants; None if prompts are features."""

    def condition(self, weights: Weights) -> nn.Module:
        """forward(timesteps [N] float32, **features, each [N, ...]) -> tuple of conditions, each [N, ...]."""

    def condition_names(self) -> tuple[str, ...]:
        """Names of the conditions, in the order the condition module returns them."""

    def condition_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each condition of a step without its leading row axis: the encoder's constants, then those."""

    def diffusers_inputs(self, timesteps: Tensor, prompts: Rows) -> dict[str, Any]:
        """What diffusers' model takes beside latents: of timesteps [B] float32, and prompts [B, ...] of `alone`."""

    def macs(self, plan: StagePlan) -> int:
        """Multiply-accumulates of one row of one step (matmuls and attention; no condition, no compensation)."""

    def parameters(self, plan: StagePlan) -> int:
        """Numbers the denoiser of a plan reads (no condition, no compensation)."""


def branch_offset(entry: Tensor, layer: Any) -> Tensor:
    """What is added to a projection: its bias [D], with compensation's factors also entry @ left @ right, [rows, D]."""
    bias: Tensor = layer.bias
    if "left" not in layer._parameters:
        return bias
    return torch.addmm(bias, entry @ layer.left, layer.right)


class Left:
    """What is left of a state dict: tensors are taken out of it, and the dict itself stays whole."""

    def __init__(self, state: Weights) -> None:
        self._state = state
        self._names = dict.fromkeys(state)

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def pop(self, name: str) -> Tensor:
        """Take a tensor out; KeyError if it is not there, or not any more."""
        del self._names[name]
        return self._state[name]


def taken_whole(
    state: Weights, convert: Callable[[Left], dict[str, Tensor]], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Tensor]:
    """What `convert` makes of a state dict by taking every tensor out of it; CheckpointError for a tensor that is
    missing, left over or of another shape than `shapes` says.
    """
    left = Left(state)
    try:
        converted = convert(left)
    except KeyError as error:
        raise CheckpointError(
            "checkpoint lacks a tensor", expected=error.args[0], found=f"{len(state)} others"
        ) from error
    except RuntimeError as error:  # how torch refuses a view
        raise CheckpointError("checkpoint does not fit its config", found=error) from error
    if unknown := sorted(left):
        raise CheckpointError("checkpoint holds tensors its config does not name", found=", ".join(unknown[:3]))
    for name, shape in shapes.items():
        if converted[name].shape != shape:
            raise CheckpointError(
                f"checkpoint does not fit its config at {name}", expected=shape, found=tuple(converted[name].shape)
            )
    for name in converted:  # one by one, so that both layouts of all are never held
        converted[name] = converted[name].contiguous()
    return converted


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


def count(config: Mapping[str, Any], key: str, family: str, less: int = 0) -> int:
    """A number of the config, less what of it is known; CheckpointError unless 1 or more is left."""
    value = config.get(key)
    if not isinstance(value, int) or value - less < 1:
        expected = f"more than {less}" if less else "a count"
        raise CheckpointError(f"{family} config has no {key}", expected=expected, found=value)
    return value - less
