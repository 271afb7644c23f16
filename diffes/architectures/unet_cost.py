"""What a U-Net's step costs under a stage plan: so much a node, and of every block so much a head and a channel."""

from typing import TYPE_CHECKING

from diffes.architectures.unet_config import TEXT_TOKENS
from diffes.architectures.unet_tree import Blocks, Node, Resample, Resnet
from diffes.schedule import BlockPlan, StagePlan

if TYPE_CHECKING:
    from diffes.architectures.unet import UNet


def macs(unet: "UNet", plan: StagePlan) -> int:
    """Multiply-accumulates of one row of one step."""
    ends = 9 * unet.sample_size**2 * unet.levels[0].channels * (unet.in_channels + unet.out_channels)
    fixed = sum(_fixed_macs(unet, node) for node in unet.nodes)
    return ends + fixed + sum(_block_macs(unet, block, kept) for block, kept in enumerate(plan))


def parameters(unet: "UNet", plan: StagePlan) -> int:
    """Numbers the denoiser of a plan reads; a skipped half leaves its biases."""
    first = unet.levels[0].channels
    ends = 9 * first * (unet.in_channels + unet.out_channels) + first + unet.out_channels + 2 * first
    fixed = sum(_fixed_parameters(node) for node in unet.nodes)
    return ends + fixed + sum(_block_parameters(unet, block, kept) for block, kept in enumerate(plan))


def _fixed_macs(unet: "UNet", node: Node) -> int:
    if isinstance(node, Resnet):
        inputs = node.inputs + node.skip
        shortcut = inputs * node.outputs if inputs != node.outputs else 0
        return unet.places(node) * (9 * node.outputs * (inputs + node.outputs) + shortcut)
    if isinstance(node, Resample):
        return unet.places(node) * 9 * node.channels**2
    return unet.places(node) * 2 * node.channels**2 if isinstance(node, Blocks) else 0


def _block_macs(unet: "UNet", block: int, kept: BlockPlan) -> int:
    node, d = unet.blocks[block], unet.head_dim(block)
    tokens, width = unet.places(node), node.channels
    attention = tokens * d * (4 * width + 2 * tokens)
    to_text = tokens * d * (2 * width + 2 * TEXT_TOKENS)
    return kept.heads * (attention + to_text) + kept.channels * 3 * tokens * width


def _fixed_parameters(node: Node) -> int:
    if isinstance(node, Resnet):
        inputs, outputs = node.inputs + node.skip, node.outputs
        shortcut = (inputs + 1) * outputs if inputs != outputs else 0
        return 2 * inputs + (9 * inputs + 1) * outputs + 2 * outputs + (9 * outputs + 1) * outputs + shortcut
    if isinstance(node, Blocks):
        return 2 * node.channels + 2 * (node.channels + 1) * node.channels
    return (9 * node.channels + 1) * node.channels if isinstance(node, Resample) else 0


def _block_parameters(unet: "UNet", block: int, kept: BlockPlan) -> int:
    width = unet.blocks[block].channels
    per_head = unet.head_dim(block) * 6 * width  # q, k, v, out; q, out of the attention to the text
    norms = 4 * width * (kept.heads > 0) + 2 * width * (kept.channels > 0)
    return kept.heads * per_head + kept.channels * (3 * width + 2) + norms + 3 * width  # of three biases
