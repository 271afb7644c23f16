"""U-Nets with cross-attention (SDXL, arXiv 2307.01952) as diffusers' `UNet2DConditionModel` stores them.

Names and layouts of transformer block i (D width of its level, H heads of size d, F channels of the MLP, C the text's):

    blocks.i.qkv.weight    [H*3*d, D]   head-major: [head][q|k|v][d]
    blocks.i.out.weight    [H*d, D]     (in, out)
    blocks.i.query.weight  [H*d, D]     of the attention to the text, whose keys and values are calculated once
    blocks.i.key.weight, blocks.i.value.weight [H*d, C]: the encoder's, at full width
    blocks.i.text_out.weight [H*d, D]   (in, out)
    blocks.i.hidden.weight, blocks.i.gate.weight [F, D]: GEGLU's halves, so that a prefix of each is one range
    blocks.i.down.weight   [F, D]       (in, out)

A block's heads are those of both attentions: as many of each are kept, each attention's in its own order. Convolutions,
norms and projections keep diffusers' names. The time embedding enters a step in the resnets alone; their projections
are one tensor, `time.weight` [sum of their channels, T], which the condition reads.

A step takes `text` [B, tokens, sum of all 2*D], keys and then values of each block, and `time` [B, sum of the resnets'
channels].
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from diffes.architectures.base import PrunableLayer, Weights, count
from diffes.architectures.texts import TextEncoders
from diffes.architectures.unet_condition import UNetCondition, UNetEncoder, UNetTextEncoder
from diffes.architectures.unet_config import FAMILY, TEXT_TOKENS, TIME_IDS, levels_of, require_supported
from diffes.architectures.unet_cost import macs, parameters
from diffes.architectures.unet_step import UNetStep
from diffes.architectures.unet_tree import Blocks, Keep, Level, Node, Resample, Resnet, blocks_of, walk
from diffes.architectures.unet_weights import convert
from diffes.errors import CheckpointError
from diffes.prompts import Numbers, Prompts, Rows, RowSpec
from diffes.schedule import BlockPlan, StagePlan
from diffes.sizes import WHOLE, Framing, Size


@dataclass(frozen=True)
class UNet:
    """One U-Net as its `unet/config.json` describes it."""

    levels: tuple[Level, ...]  # finest first
    middle: int  # transformer blocks
    resnets: int  # of a level on the way down
    in_channels: int
    out_channels: int
    sample_size: int
    text_channels: int
    pooled_channels: int
    id_channels: int  # that each time id is embedded in
    norm_groups: int
    norm_eps: float
    texts: TextEncoders | None

    framed: ClassVar[bool] = True

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "UNet":
        """Read diffusers' config; CheckpointError for variants this family does not cover."""
        require_supported(config)
        levels, middle = levels_of(config)
        id_channels = count(config, "addition_time_embed_dim", FAMILY)
        unet = cls(
            levels=levels,
            middle=middle,
            resnets=count(config, "layers_per_block", FAMILY),
            in_channels=count(config, "in_channels", FAMILY),
            out_channels=count(config, "out_channels", FAMILY),
            sample_size=count(config, "sample_size", FAMILY),
            text_channels=count(config, "cross_attention_dim", FAMILY),
            pooled_channels=count(config, "projection_class_embeddings_input_dim", FAMILY, TIME_IDS * id_channels),
            id_channels=id_channels,
            norm_groups=count(config, "norm_num_groups", FAMILY),
            norm_eps=config["norm_eps"],
            texts=TextEncoders.from_config(config),
        )
        _require_told(unet)
        return unet

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """What a step does, in order."""
        return walk(self.levels, self.middle, self.resnets)

    @cached_property
    def blocks(self) -> tuple[Blocks, ...]:
        """Where each transformer block stands."""
        return tuple(node for _, node in blocks_of(self.nodes))

    @property
    def embedding_channels(self) -> int:
        """Of the time embedding: T."""
        return 4 * self.levels[0].channels

    @property
    def time_channels(self) -> int:
        """Of the time condition: all resnets' channels."""
        return sum(node.outputs for node in self.nodes if isinstance(node, Resnet))

    @property
    def text_width(self) -> int:
        """Of the text condition: all blocks' keys and values."""
        return sum(2 * node.channels for node in self.blocks)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height, width of one image's latents."""
        return self.in_channels, self.sample_size, self.sample_size

    @property
    def side_multiple(self) -> int:
        """How many latents of a side become one at the coarsest level."""
        return int(2 ** (len(self.levels) - 1))

    @cached_property
    def dense(self) -> StagePlan:
        """The plan that keeps everything."""
        return tuple(BlockPlan(node.heads, 4 * node.channels) for node in self.blocks)

    def head_dim(self, block: int) -> int:
        """Of that block's heads."""
        node = self.blocks[block]
        return node.channels // node.heads

    @cached_property
    def layers(self) -> tuple[PrunableLayer, ...]:
        """Both attentions and the MLP of every block."""
        return tuple(layer for block in range(len(self.blocks)) for layer in self._layers_of(block))

    def _layers_of(self, block: int) -> tuple[PrunableLayer, ...]:
        node, at = self.blocks[block], f"blocks.{block}"
        common = {"block": block, "entry": node.channels, "outputs": node.channels, "rows": self.places(node)}
        heads = {"kind": "heads", "units": node.heads, "width": self.head_dim(block), **common}
        channels = {"kind": "channels", "units": 4 * node.channels, "width": 1, **common}
        text = (f"{at}.key.weight", f"{at}.value.weight")
        mlp = tuple(f"{at}.{name}.{part}" for name in ("hidden", "gate") for part in ("weight", "bias"))
        return (
            _layer(heads, at, ("norm1", "out"), (f"{at}.qkv.weight",)),
            _layer(heads, at, ("norm2", "text_out"), (f"{at}.query.weight",), text),
            _layer(channels, at, ("norm3", "down"), mlp),
        )

    def places(self, node: Node) -> int:
        """Of an image where a node works."""
        assert not isinstance(node, Keep)
        return (self.sample_size // node.scale) ** 2

    def macs(self, plan: StagePlan) -> int:
        """Multiply-accumulates of one row of one step."""
        return macs(self, plan)

    def parameters(self, plan: StagePlan) -> int:
        """Numbers the denoiser of a plan reads; a skipped half leaves its biases."""
        return parameters(self, plan)

    @property
    def alone(self) -> "UNet":
        """The same without text encoders, given their states."""
        return replace(self, texts=None)

    def prompt_inputs(self) -> dict[str, RowSpec]:
        """Texts or what encoders say of them, states [tokens, C] and a pooled one [P]; and time ids [6]."""
        states = {
            "states": RowSpec(torch.float32, (TEXT_TOKENS, self.text_channels)),
            "pooled": RowSpec(torch.float32, (self.pooled_channels,)),
        }
        texts = states if self.texts is None else self.texts.inputs()
        return {**texts, "time_ids": RowSpec(torch.float32, (TIME_IDS,))}

    def sizes(self, size: Size, framing: Framing = WHOLE) -> dict[str, Numbers]:
        """Original size, crop and target size; those of WHOLE are what diffusers says by default."""
        return {"time_ids": tuple(map(float, framing.of(size)))}

    def features(self) -> dict[str, RowSpec]:
        """What is added to the time embedding."""
        return {"added": RowSpec(torch.float32, (self.embedding_channels,))}

    def examples(self) -> Prompts:
        """One of normal states, or of a text of token 0 alone, and no crop; guidance leads away from none at all."""
        side = 8 * self.sample_size
        ids = torch.tensor([self.sizes(Size(side, side))["time_ids"]])
        inputs = {name: spec for name, spec in self.prompt_inputs().items() if name != "time_ids"}
        unwanted = {name: torch.zeros(1, *spec.shape, dtype=spec.dtype) for name, spec in inputs.items()}
        if self.texts is not None:
            wanted = {**unwanted, "present": torch.ones(1)}
        else:
            generator = torch.Generator().manual_seed(0)
            wanted = {name: torch.randn(1, *spec.shape, generator=generator) for name, spec in inputs.items()}
        return Prompts({**wanted, "time_ids": ids}, {**unwanted, "time_ids": ids})

    def step_weights(self) -> tuple[str, ...]:
        """Names the denoiser reads."""
        names = [f"{name}.{part}" for name in ("conv_in", "conv_norm_out", "conv_out") for part in ("weight", "bias")]
        for node in self.nodes:
            names += [f"{name}.{part}" for name in _modules(node) for part in ("weight", "bias")]
        names += [name for layer in self.layers for name in (*layer.sliced, *layer.norm, layer.projection, layer.bias)]
        return tuple(names)

    def encoder_weights(self) -> tuple[str, ...]:
        """Keys and values, the embedding of what is added, and the text encoders'."""
        embedders = [f"add_embedding.fc{number}.{part}" for number in (1, 2) for part in ("weight", "bias")]
        texts = () if self.texts is None else self.texts.weights()
        return (*embedders, *(name for layer in self.layers for name in layer.ordered), *texts)

    def denoiser(self, plan: StagePlan, weights: Weights) -> nn.Module:
        """The step of a stage plan on tensors already cut to it."""
        return UNetStep(self, plan, weights)

    def encoder(self, weights: Weights) -> nn.Module:
        """Prompts to what is added to the time embedding, and the text condition."""
        return UNetEncoder(self, weights) if self.texts is None else UNetTextEncoder(self, self.texts, weights)

    def condition(self, weights: Weights) -> nn.Module:
        """Timesteps and what is added to them to the time condition."""
        return UNetCondition(self, weights)

    def condition_names(self) -> tuple[str, ...]:
        """Of what a timestep gives."""
        return ("time",)

    def condition_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each condition without its leading row axis."""
        return {"text": (TEXT_TOKENS, self.text_width), "time": (self.time_channels,)}

    def diffusers_inputs(self, timesteps: Tensor, prompts: Rows) -> dict[str, Any]:
        """What `UNet2DConditionModel` takes beside latents."""
        added = {"text_embeds": prompts["pooled"], "time_ids": prompts["time_ids"]}
        return {"timestep": timesteps, "encoder_hidden_states": prompts["states"], "added_cond_kwargs": added}

    def convert(self, state: Weights) -> dict[str, Tensor]:
        """diffusers' state dict in this family's names and layouts; CheckpointError unless it fits the config."""
        return convert(self, state)


def _require_told(unet: UNet) -> None:
    """CheckpointError unless the text encoders say what the U-Net reads."""
    if unet.texts is None:
        return
    wanted = TEXT_TOKENS, unet.text_channels, unet.pooled_channels
    found = unet.texts.length, unet.texts.state_channels, unet.texts.pooled_channels
    if found != wanted:
        raise CheckpointError(
            "the text encoders do not fit the U-Net",
            expected="tokens, channels, pooled: {}, {}, {}".format(*wanted),
            found="{}, {}, {}".format(*found),
        )


def _layer(
    common: Mapping[str, Any], at: str, ends: tuple[str, str], sliced: Sequence[str], ordered: Sequence[str] = ()
) -> PrunableLayer:
    """Of a block `at`; `ends` are its norm and its projection."""
    norm, projection = ends
    return PrunableLayer(
        sliced=tuple(sliced),
        projection=f"{at}.{projection}.weight",
        bias=f"{at}.{projection}.bias",
        ordered=tuple(ordered),
        norm=(f"{at}.{norm}.weight", f"{at}.{norm}.bias"),
        **common,
    )


def _modules(node: Node) -> list[str]:
    """diffusers' modules of a node that a step reads as they are."""
    if isinstance(node, Resnet):
        shortcut = ["conv_shortcut"] if node.inputs + node.skip != node.outputs else []
        return [f"{node.name}.{part}" for part in ("norm1", "conv1", "norm2", "conv2", *shortcut)]
    if isinstance(node, Blocks):
        return [f"{node.name}.{part}" for part in ("norm", "proj_in", "proj_out")]
    return [node.name] if isinstance(node, Resample) else []
