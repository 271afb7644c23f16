"""Scores of single images by the optional package pyiqa (https://github.com/chaofengc/IQA-PyTorch).

pyiqa fetches a metric's weights the first time it is asked for them.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from diffes.errors import QualityError

_OF_SETS = ("fid", "inception_score")  # pyiqa lists them as no-reference, but they score folders of images


class ImageScore:
    """One no-reference metric; scores are signed so that smaller is better."""

    def __init__(self, name: str, *, device: torch.device | str = "cpu", batch: int = 16) -> None:
        """QualityError if pyiqa is not installed or has no such metric of single images."""
        pyiqa = _pyiqa()
        offered = [metric for metric in pyiqa.list_models("NR") if not any(word in metric for word in _OF_SETS)]
        if name not in offered:
            raise QualityError(
                "pyiqa has no such no-reference metric", expected=f"one of {', '.join(offered)}", found=name
            )
        self._metric: Any = pyiqa.create_metric(name, device=torch.device(device))
        self._sign = 1.0 if self._metric.lower_better else -1.0
        self._batch = batch

    def __call__(self, images: Tensor) -> float:
        """Mean signed score of `images` [N, 3, H, W] in [-1, 1]."""
        total = 0.0
        for chunk in torch.split(images, self._batch):
            unit_range = ((chunk.float() + 1) / 2).clamp(0, 1)
            with torch.inference_mode():
                scores = torch.as_tensor(self._metric(unit_range)).double().flatten()
            if len(scores) != len(chunk):
                raise QualityError("the metric gave no score an image", expected=len(chunk), found=len(scores))
            total += float(scores.sum())
        return self._sign * total / len(images)


def _pyiqa() -> ModuleType:
    try:
        import pyiqa
    except ImportError as error:
        raise QualityError(
            "no-reference metrics come from the package pyiqa",
            expected="pyiqa",
            found=str(error),
            remedy="pip install diffes[iqa]",
        ) from error
    module: ModuleType = pyiqa
    return module
