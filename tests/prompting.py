"""Prompts of tests: class labels of the shipped and the tiny models, which know ten classes."""

import torch

from diffes.prompts import Prompts

NONE = 10  # the label of no class


def labelled(*labels: int, none: int = NONE) -> Prompts:
    """One image of each label; guidance leads away from no class."""
    wanted = torch.tensor(labels, dtype=torch.int64)
    return Prompts({"labels": wanted}, {"labels": torch.full_like(wanted, none)})
