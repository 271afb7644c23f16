"""One step of a PixArt: a DiT's, with attention to the text between a block's attention and its MLP."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from diffes.architectures.adaln_step import AdaLNStep
from diffes.architectures.base import branch_offset
from diffes.kernels import Branch, Norm, cross_attention, linear, modulated_norm, value_of


class PixArtStep(AdaLNStep):
    """forward(latents [B, C, h, w], text [B, tokens, L*2*D], ignored [B, 1, tokens], modulation, final_modulation)."""

    def forward(  # type: ignore[override]
        self, latents: Tensor, text: Tensor, ignored: Tensor, modulation: Tensor, final_modulation: Tensor
    ) -> Tensor:
        """The prediction, like latents."""
        others = {"text": text, "ignored": ignored}
        return self.resume(0, self._patchify(latents), modulation, final_modulation, **others)

    def _between(
        self,
        x: Tensor,
        gate: Tensor,
        attention: Branch,
        norm: Norm,
        index: int,
        others: Mapping[str, Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Attention to the text reads what is there as it is, and is added as it is."""
        x = x + gate * value_of(attention, x)
        at = self.get_submodule(f"weights.blocks.{index}")
        x = x + value_of(self._text_attention(x, at, index, others), x)
        return x, modulated_norm(x, norm)

    def _text_attention(self, x: Tensor, at: Any, index: int, others: Mapping[str, Tensor]) -> Branch:
        entry, width = x.flatten(0, 1), self.transformer.width  # [B*tokens, D]
        if self.plan[index].heads == 0:
            return Branch(branch_offset(entry, at.text_out))
        queries = linear(entry, at.query.weight, at.query.bias)
        keys, images = 2 * width * index, (x.shape[0], self.transformer.tokens)
        mixed = cross_attention(
            queries, others["text"], (keys, keys + width), images, self.transformer.head_dim, others["ignored"]
        )
        return self._branch(mixed, entry, at.text_out, f"blocks.{index}.text_out.weight")
