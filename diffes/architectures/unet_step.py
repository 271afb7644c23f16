"""One denoising step of a U-Net on tensors cut to a stage plan."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffes.architectures.base import Entry, Tap, Weights, branch_offset, parameters_of
from diffes.architectures.unet_tree import Blocks, Keep, Node, Resample, Resnet
from diffes.kernels import Branch, cross_attention, gated_gelu_linear, self_attention, value_of
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
        x = F.silu(self._group_norm("conv_norm_out", x, self.unet.norm_eps))
        return self._conv("conv_out", x)

    def _resnet(self, node: Resnet, x: Tensor, time: Tensor) -> Tensor:
        h = F.silu(self._group_norm(f"{node.name}.norm1", x, self.unet.norm_eps))
        h = self._conv(f"{node.name}.conv1", h) + time[:, node.time : node.time + node.outputs, None, None]
        h = F.silu(self._group_norm(f"{node.name}.norm2", h, self.unet.norm_eps))
        h = self._conv(f"{node.name}.conv2", h)
        if node.inputs + node.skip != node.outputs:
            x = self._conv(f"{node.name}.conv_shortcut", x, padding=0)
        return x + h

    def _resample(self, node: Resample, x: Tensor) -> Tensor:
        if node.up:
            return self._conv(node.name, F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return self._conv(node.name, x, stride=2)

    def _enter(self, node: Blocks, x: Tensor) -> Tensor:
        w = self._of(f"{node.name}.proj_in")
        tokens = self._group_norm(f"{node.name}.norm", x, _BLOCKS_NORM_EPS).flatten(2).transpose(1, 2)
        return F.linear(tokens, w.weight, w.bias)

    def _leave(self, node: Blocks, hidden: Tensor, residual: Tensor) -> Tensor:
        w = self._of(f"{node.name}.proj_out")
        back: Tensor = F.linear(hidden, w.weight, w.bias).transpose(1, 2).unflatten(2, residual.shape[2:])
        return back + residual

    def _through(self, node: Blocks, first: int, moment: Moment, text: Tensor) -> Tensor:
        """The transformer blocks from `first` on."""
        x = moment.hidden
        for block in range(first, node.first + node.depth):
            if self.entry is not None:
                self.entry(block, Moment(x, moment.residual, moment.kept))
            plan, at = self.plan[block], self._of(f"blocks.{block}")
            x = x + self._self_attention(x, at, block, plan.heads)
            x = x + self._text_attention(x, at, block, text, node)
            x = x + self._mlp(x, at, block, plan.channels)
        return x

    def _self_attention(self, x: Tensor, at: Any, block: int, heads: int) -> Tensor:
        if heads == 0:
            return self._skipped(x, at, "norm1", at.out)
        entry = self._entry(x, at.norm1)
        mixed = self_attention(F.linear(entry, at.qkv.weight), (x.shape[0], x.shape[1]), self.unet.head_dim(block))
        return self._added(x, entry, at.out, mixed, f"blocks.{block}.out.weight")

    def _text_attention(self, x: Tensor, at: Any, block: int, text: Tensor, node: Blocks) -> Tensor:
        if self.plan[block].heads == 0:
            return self._skipped(x, at, "norm2", at.text_out)
        entry, keys = self._entry(x, at.norm2), node.keys_of(block)
        begins, images = (keys, keys + node.channels), (x.shape[0], x.shape[1])
        queries = F.linear(entry, at.query.weight)
        mixed = cross_attention(queries, text, begins, images, self.unet.head_dim(block))
        return self._added(x, entry, at.text_out, mixed, f"blocks.{block}.text_out.weight")

    def _mlp(self, x: Tensor, at: Any, block: int, channels: int) -> Tensor:
        if channels == 0:
            return self._skipped(x, at, "norm3", at.down)
        entry = self._entry(x, at.norm3)
        inner = gated_gelu_linear(entry, (at.hidden.weight, at.hidden.bias), (at.gate.weight, at.gate.bias))
        return self._added(x, entry, at.down, inner, f"blocks.{block}.down.weight")

    def _added(self, x: Tensor, entry: Tensor, layer: Any, inputs: Tensor, name: str) -> Tensor:
        """What a branch adds to x."""
        if self.tap is not None:
            self.tap(name, inputs, entry)
        return value_of(Branch(branch_offset(entry, layer), inputs, layer.weight), x)

    def _skipped(self, x: Tensor, at: Any, norm: str, layer: Any) -> Tensor:
        """What is left of a branch that keeps nothing: its bias, and what factors make of its entry."""
        if "left" not in layer._parameters:
            bias: Tensor = layer.bias
            return bias
        return value_of(Branch(branch_offset(self._entry(x, at.get_submodule(norm)), layer)), x)

    @staticmethod
    def _entry(x: Tensor, norm: Any) -> Tensor:
        """x [B, tokens, D] normed → [B*tokens, D]."""
        return F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, _BLOCK_NORM_EPS).flatten(0, 1)

    def _group_norm(self, name: str, x: Tensor, eps: float) -> Tensor:
        w = self._of(name)
        return F.group_norm(x, self.unet.norm_groups, w.weight, w.bias, eps)

    def _conv(self, name: str, x: Tensor, *, stride: int = 1, padding: int = 1) -> Tensor:
        w = self._of(name)
        return F.conv2d(x, w.weight, w.bias, stride=stride, padding=padding)

    def _of(self, name: str) -> Any:
        return self.weights.get_submodule(name)


__all__ = ["Moment", "Node", "UNetStep"]
