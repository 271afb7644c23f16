"""The order in which diffusers' `UNet2DConditionModel` does things, read from its config.

Everything else about the family follows from this list: what can be pruned, what it costs, and the step itself.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Resnet:
    """Two 3x3 convolutions with the time embedding added between them."""

    name: str  # diffusers' module
    inputs: int  # channels of what is there
    skip: int  # channels of what was kept and is laid beside it; 0: nothing
    outputs: int
    scale: int  # latents' side over this resolution's
    time: int  # where its part of the time condition begins


@dataclass(frozen=True, slots=True)
class Blocks:
    """Transformer blocks `first` to `first + depth` between two projections, added to what is there."""

    name: str
    channels: int
    heads: int
    first: int
    depth: int
    scale: int
    text: int  # where keys and values of its first block begin in the text condition

    @property
    def numbers(self) -> range:
        """Its blocks among all of the U-Net's."""
        return range(self.first, self.first + self.depth)

    def keys_of(self, block: int) -> int:
        """Where the block's keys begin in the text condition; its values follow, as many."""
        return self.text + 2 * self.channels * (block - self.first)


@dataclass(frozen=True, slots=True)
class Resample:
    """A 3x3 convolution: of stride 2, or of pixels that became four each."""

    name: str
    channels: int
    up: bool
    scale: int  # of its output


@dataclass(frozen=True, slots=True)
class Keep:
    """What is there is laid beside the input of a later resnet: who kept last is used first."""


Node = Resnet | Blocks | Resample | Keep


@dataclass(frozen=True, slots=True)
class Level:
    """One resolution: channels, transformer blocks behind each resnet (0: none), and their heads."""

    channels: int
    depth: int
    heads: int


@dataclass
class _Walk:
    """Counts along the way."""

    nodes: list[Node] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)  # channels
    time: int = 0
    block: int = 0
    text: int = 0

    def resnet(self, name: str, inputs: int, outputs: int, scale: int, *, skip: int = 0) -> None:
        self.nodes.append(Resnet(name, inputs, skip, outputs, scale, self.time))
        self.time += outputs

    def blocks(self, name: str, level: Level, scale: int) -> None:
        if level.depth:
            self.nodes.append(Blocks(name, level.channels, level.heads, self.block, level.depth, scale, self.text))
            self.block += level.depth
            self.text += 2 * level.depth * level.channels

    def keep(self, channels: int) -> None:
        self.kept.append(channels)
        self.nodes.append(Keep())


def walk(levels: Sequence[Level], middle: int, resnets: int) -> tuple[Node, ...]:
    """All nodes in order; levels finest first, each with so many resnets on the way down and one more on the way up.

    The middle has `middle` transformer blocks, as wide as the coarsest level's.
    """
    way = _Walk()
    channels = _down(way, levels, resnets)
    _middle(way, Level(channels, middle, levels[-1].heads), 2 ** (len(levels) - 1))
    _up(way, levels, resnets + 1, channels)
    return tuple(way.nodes)


def blocks_of(nodes: Sequence[Node]) -> Iterator[tuple[int, Blocks]]:
    """Every transformer block's number, and where it stands."""
    for node in nodes:
        if isinstance(node, Blocks):
            yield from ((number, node) for number in node.numbers)


def _down(way: _Walk, levels: Sequence[Level], resnets: int) -> int:
    before = levels[0].channels
    way.keep(before)
    for number, level in enumerate(levels):
        at, scale = f"down_blocks.{number}", 2**number
        for layer in range(resnets):
            way.resnet(f"{at}.resnets.{layer}", before, level.channels, scale)
            way.blocks(f"{at}.attentions.{layer}", level, scale)
            way.keep(level.channels)
            before = level.channels
        if number < len(levels) - 1:
            way.nodes.append(Resample(f"{at}.downsamplers.0.conv", before, up=False, scale=2 * scale))
            way.keep(before)
    return before


def _middle(way: _Walk, level: Level, scale: int) -> None:
    way.resnet("mid_block.resnets.0", level.channels, level.channels, scale)
    way.blocks("mid_block.attentions.0", level, scale)
    way.resnet("mid_block.resnets.1", level.channels, level.channels, scale)


def _up(way: _Walk, levels: Sequence[Level], resnets: int, before: int) -> None:
    for number, level in enumerate(reversed(levels)):
        at, scale = f"up_blocks.{number}", 2 ** (len(levels) - 1 - number)
        for layer in range(resnets):
            way.resnet(f"{at}.resnets.{layer}", before, level.channels, scale, skip=way.kept.pop())
            way.blocks(f"{at}.attentions.{layer}", level, scale)
            before = level.channels
        if scale > 1:
            way.nodes.append(Resample(f"{at}.upsamplers.0.conv", before, up=True, scale=scale // 2))
