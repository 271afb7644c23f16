"""`bentoml serve` in this folder serves the bundle that DIFFES_BUNDLE names; `diffes serve` works from any folder."""

from diffes.serving.bento import Diffes

__all__ = ["Diffes"]
