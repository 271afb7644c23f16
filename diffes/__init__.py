"""Diffes: every denoising stage on its own pruned slice of one set of weights."""

__version__ = "0.1.0"
