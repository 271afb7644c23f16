"""One denoising step of a U-Net on tensors cut to a stage plan."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffes.architectures.base import Entry, Tap, Weights, branch_offset, parameters_of
from diffes.architectures.unet_tree import Blocks, Keep, Resample, Resnet
from diffes.kernels import (
    Branch,
    GroupNorm,
    LayerNorm,
    convolved,
    cross_attention,
    doubled,
    gated_gelu_linear,
    group_norm,
    group_norm_silu,
    layer_norm,
    linear,
    self_attention,
    summed_norm,
    value_of,
)
from diffes.schedule import StagePlan

if TYPE_CHECKING:
    from diffes.architectures.unet import UNet

_BLOCK_NORM_EPS = 1e-5  # of a transformer block's layer norms, fixed in diffusers
_BLOCKS_NORM_EPS = 1e-6  # of the group norm before them


@dataclass(frozen=True, slots=True)
class Moment:
    """Where a step stands before a transformer block: `hidden` [B, tokens, D], `residual` [B, D, h, w] that the blocks'
    output is added to, and what was kept for later resnets.
    """

    hidden: Tensor
    residual: Tensor
    kept: tuple[Tensor, ...]


class _Layer(NamedTuple):
    """A layer of a transformer block: its projection by name, what it keeps, and what it makes of its entry."""

    name: str
    block: Any
    norm: str
    projection: Any
    kept: int
    inputs: Callable[[Tensor, tuple[int, int]], Tensor]  # of an entry [B*tokens, D], and (B, tokens)


class UNetStep(nn.Module):
    """forward(latents [B, C, h, w], text [B, tokens, Σ2D], time [B, Σresnets]) → like latents."""

    tap: Tap | None = None
    entry: Entry | None = None

    def __init__(self, unet: "UNet", plan: StagePlan, weights: Weights) -> None:
        super().__init__()
        self.unet = unet
        self.plan = plan
        self.weights = parameters_of(weights)

    def forward(self, latents: Tensor, text: Tensor, time: Tensor) -> Tensor:
        """Down, through the middle, and up."""
        return self._go_on(0, self._conv("conv_in", latents), (), text, time)

    def resume(self, first: int, moment: Moment, *, text: Tensor, time: Tensor) -> Tensor:
        """The rest of a step from transformer block `first` on."""
        at, node = next(
            (at, node) for at, node in enumerate(self.unet.nodes) if isinstance(node, Blocks) and first in node.numbers
        )
        x = self._leave(node, self._through(node, first, moment, text), moment.residual)
        return self._go_on(at + 1, x, moment.kept, text, time)

    def _go_on(self, at: int, x: Tensor, kept: tuple[Tensor, ...], text: Tensor, time: Tensor) -> Tensor:
        """From node `at` to the prediction."""
        for node in self.unet.nodes[at:]:
            if isinstance(node, Keep):
                kept = (*kept, x)
            elif isinstance(node, Resnet):
                if node.skip:
                    x, kept = torch.cat([x, kept[-1]], 1), kept[:-1]
                x = self._resnet(node, x, time)
            elif isinstance(node, Resample):
                x = self._resample(node, x)
            else:
                moment = Moment(self._enter(node, x), x, kept)
                x = self._leave(node, self._through(node, node.first, moment, text), x)
        return self._conv("conv_out", group_norm_silu(x, self._group_norm("conv_norm_out", self.unet.norm_eps)))

    def _resnet(self, node: Resnet, x: Tensor, time: Tensor) -> Tensor:
        first, second = (self._group_norm(f"{node.name}.norm{number}", self.unet.norm_eps) for number in (1, 2))
        time = time[:, node.time : node.time + node.outputs]
        h = self._conv(f"{node.name}.conv1", group_norm_silu(x, first), time)
        if node.inputs + node.skip != node.outputs:
            x = self._conv(f"{node.name}.conv_shortcut", x)
        return self._conv(f"{node.name}.conv2", group_norm_silu(h, second), x)

    def _resample(self, node: Resample, x: Tensor) -> Tensor:
        return self._conv(node.name, doubled(x)) if node.up else self._conv(node.name, x, stride=2)

    def _enter(self, node: Blocks, x: Tensor) -> Tensor:
        w = self._of(f"{node.name}.proj_in")
        normed = group_norm(x, self._group_norm(f"{node.name}.norm", _BLOCKS_NORM_EPS)).flatten(2).transpose(1, 2)
        hidden: Tensor = linear(normed.flatten(0, 1), w.weight, w.bias).view(normed.shape)
        return hidden

    def _leave(self, node: Blocks, hidden: Tensor, residual: Tensor) -> Tensor:
        w = self._of(f"{node.name}.proj_out")
        tokens = linear(hidden.flatten(0, 1), w.weight, w.bias).view(hidden.shape)
        back: Tensor = tokens.transpose(1, 2).unflatten(2, residual.shape[2:])
        return back + residual

    def _through(self, node: Blocks, first: int, moment: Moment, text: Tensor) -> Tensor:
        """The transformer blocks from `first` on. A layer's branch is added when the next one asks for its entry."""
        x, branch = moment.hidden, None
        for block in range(first, node.first + node.depth):
            if self.entry is not None:
                x, branch = _summed(x, branch), None
                self.entry(block, Moment(x, moment.residual, moment.kept))
            for layer in self._layers_of(block, text):
                x, branch = self._pass(x, branch, layer)
        return _summed(x, branch)

    def _layers_of(self, block: int, text: Tensor) -> Iterator["_Layer"]:
        heads, channels = self.plan[block]
        at, head_dim, node = self._of(f"blocks.{block}"), self.unet.head_dim(block), self.unet.blocks[block]
        keys = node.keys_of(block)

        def mixed(entry: Tensor, images: tuple[int, int]) -> Tensor:
            return self_attention(F.linear(entry, at.qkv.weight), images, head_dim)

        def told(entry: Tensor, images: tuple[int, int]) -> Tensor:
            queries = F.linear(entry, at.query.weight)
            return cross_attention(queries, text, (keys, keys + node.channels), images, head_dim)

        def inner(entry: Tensor, _: tuple[int, int]) -> Tensor:
            return gated_gelu_linear(entry, (at.hidden.weight, at.hidden.bias), (at.gate.weight, at.gate.bias))

        yield _Layer(f"blocks.{block}.out.weight", at, "norm1", at.out, heads, mixed)
        yield _Layer(f"blocks.{block}.text_out.weight", at, "norm2", at.text_out, heads, told)
        yield _Layer(f"blocks.{block}.down.weight", at, "norm3", at.down, channels, inner)

    def _pass(self, x: Tensor, before: Branch | None, layer: "_Layer") -> tuple[Tensor, Branch]:
        """x [B, tokens, D] with the branch before, and the layer's: its bias if it keeps nothing and has no factors."""
        if layer.kept == 0 and "left" not in layer.projection._parameters:
            return _summed(x, before), Branch(layer.projection.bias)
        weights = layer.block.get_submodule(layer.norm)
        norm = LayerNorm(weights.weight, weights.bias, _BLOCK_NORM_EPS)
        x, normed = (x, layer_norm(x, norm)) if before is None else summed_norm(x, before, norm)
        entry = normed.flatten(0, 1)
        offset = branch_offset(entry, layer.projection)
        if layer.kept == 0:
            return x, Branch(offset)
        inputs = layer.inputs(entry, (x.shape[0], x.shape[1]))
        if self.tap is not None:
            self.tap(layer.name, inputs, entry)
        return x, Branch(offset, inputs, layer.projection.weight)

    def _group_norm(self, name: str, eps: float) -> GroupNorm:
        w = self._of(name)
        return GroupNorm(w.weight, w.bias, self.unet.norm_groups, eps)

    def _conv(self, name: str, x: Tensor, added: Tensor | None = None, *, stride: int = 1) -> Tensor:
        w = self._of(name)
        return convolved(x, w.weight, w.bias, added, stride=stride)

    def _of(self, name: str) -> Any:
        return self.weights.get_submodule(name)


def _summed(x: Tensor, branch: Branch | None) -> Tensor:
    return x if branch is None else x + value_of(branch, x)
