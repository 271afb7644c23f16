"""Diffes: every denoising stage on its own pruned slice of one set of weights."""

from importlib.metadata import version

__version__ = version("diffes")
