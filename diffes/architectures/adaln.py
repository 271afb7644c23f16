"""What transformers on patches of latents share whose norms are modulated by time (adaLN; DiT, arXiv 2212.09748).

Names and layouts (D model width, H heads of size d, F MLP channels, p patch, C latent channels):

    patch.weight              [D, C*p*p]         blocks.i.qkv.weight    [H*3*d, D]   head-major: [head][q|k|v][d]
    pos_embed                 [tokens, D]        blocks.i.out.weight    [H*d, D]     (in, out)
    final.weight              [p*p*C, D]         blocks.i.fc1.weight    [F, D]
                                                 blocks.i.fc2.weight    [F, D]       (in, out)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from diffes.architectures.base import PrunableLayer, count
from diffes.errors import CheckpointError
from diffes.schedule import BlockPlan, StagePlan

MLP_NORM_EPS = 1e-5  # of configs that name none, as in diffusers
SUPPORTED = {"activation_fn": "gelu-approximate", "attention_bias": True, "norm_elementwise_affine": False}


@dataclass(frozen=True)
class AdaLNTransformer:
    """Sizes, and what follows from them."""

    heads: int
    head_dim: int
    channels: int  # of the MLP
    depth: int
    patch: int
    latent_channels: int
    out_channels: int
    sample_size: int
    mlp_norm_eps: float

    texts: ClassVar[None] = None
    side_multiple: ClassVar[None] = None  # positions are a table
    framed: ClassVar[bool] = False

    @property
    def alone(self) -> Self:
        """The same: text encoders are none of its business."""
        return self

    @property
    def width(self) -> int:
        """Model width D."""
        return self.heads * self.head_dim

    @property
    def tokens(self) -> int:
        """Patches of one image."""
        return (self.sample_size // self.patch) ** 2

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height, width of one image's latents."""
        return self.latent_channels, self.sample_size, self.sample_size

    @property
    def dense(self) -> StagePlan:
        """The plan that keeps everything."""
        return (BlockPlan(self.heads, self.channels),) * self.depth

    @property
    def layers(self) -> tuple[PrunableLayer, ...]:
        """Attention and MLP of every block."""
        return tuple(layer for block in range(self.depth) for layer in self._layers_of(block))

    def _layers_of(self, block: int) -> tuple[PrunableLayer, ...]:
        at = f"blocks.{block}"
        attention = PrunableLayer(
            block=block,
            kind="heads",
            units=self.heads,
            width=self.head_dim,
            sliced=(f"{at}.qkv.weight", f"{at}.qkv.bias"),
            projection=f"{at}.out.weight",
            bias=f"{at}.out.bias",
            entry=self.width,
            outputs=self.width,
            rows=self.tokens,
        )
        mlp = PrunableLayer(
            block=block,
            kind="channels",
            units=self.channels,
            width=1,
            sliced=(f"{at}.fc1.weight", f"{at}.fc1.bias"),
            projection=f"{at}.fc2.weight",
            bias=f"{at}.fc2.bias",
            entry=self.width,
            outputs=self.width,
            rows=self.tokens,
        )
        return attention, mlp

    def macs(self, plan: StagePlan) -> int:
        """Multiply-accumulates of one row of one step."""
        tokens, width = self.tokens, self.width
        per_head = tokens * self.head_dim * (4 * width + 2 * tokens)
        per_channel = tokens * 2 * width
        pixels = self.patch**2 * self.latent_channels
        ends = tokens * width * pixels * 2
        return ends + sum(b.heads * per_head + b.channels * per_channel for b in plan)

    def parameters(self, plan: StagePlan) -> int:
        """Numbers the denoiser of a plan reads; a skipped half leaves its bias."""
        width, pixels = self.width, self.patch**2 * self.latent_channels
        ends = width * (pixels + 1) + self.tokens * width + pixels * (width + 1)
        per_head = self.head_dim * (3 * (width + 1) + width)
        per_channel = 2 * width + 1
        return ends + sum(b.heads * per_head + b.channels * per_channel + 2 * width for b in plan)

    def step_weights(self) -> tuple[str, ...]:
        """Names the denoiser reads."""
        ends = ("patch.weight", "patch.bias", "pos_embed", "final.weight", "final.bias")
        blocks = tuple(name for layer in self.layers for name in (*layer.sliced, layer.projection, layer.bias))
        return ends + blocks


def sizes_of(config: Mapping[str, Any], family: str) -> dict[str, Any]:
    """The fields, from diffusers' config; CheckpointError for one that cannot be."""
    sizes = {name: count(config, key, family) for name, key in _SIZES.items()}
    latent, out = sizes["latent_channels"], config.get("out_channels") or sizes["latent_channels"]
    if out not in (latent, 2 * latent):
        raise CheckpointError(
            f"{family} config has unsupported out_channels",
            expected=f"{latent} (noise) or {2 * latent} (noise and variance)",
            found=out,
        )
    if sizes["sample_size"] % sizes["patch"]:
        raise CheckpointError(
            f"{family} config cannot be cut into patches",
            expected=f"a sample_size divisible by {sizes['patch']}",
            found=sizes["sample_size"],
        )
    channels, eps = 4 * sizes["heads"] * sizes["head_dim"], config.get("norm_eps", MLP_NORM_EPS)
    return {**sizes, "channels": channels, "out_channels": out, "mlp_norm_eps": eps}


_SIZES = {
    "heads": "num_attention_heads",
    "head_dim": "attention_head_dim",
    "depth": "num_layers",
    "patch": "patch_size",
    "latent_channels": "in_channels",
    "sample_size": "sample_size",
}
