"""Prompts of tests: class labels of the shipped and the tiny models, which know ten classes."""

import torch

from diffes.prompts import Encoded, Prompt, Prompts, Rows

NONE = 10  # the label of no class


def labelled(*labels: int, none: int = NONE) -> Prompts:
    """One image of each label; guidance leads away from no class."""
    wanted = torch.tensor(labels, dtype=torch.int64)
    return Prompts({"labels": wanted}, {"labels": torch.full_like(wanted, none)})


def of_label(label: int) -> Prompt:
    """What a request asks for."""
    return Prompt({"labels": label}, {"labels": NONE}, {"label": label})


class WithoutEncoder:
    """Of models whose prompts are their features."""

    def encode(self, prompts: Rows) -> Encoded:
        return Encoded(prompts)
