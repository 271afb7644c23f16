"""A small image classifier, and the features it sees images by.

The layout follows the residual network of Page 2018, "How to Train Your ResNet", with one more
residual pair, narrowed to fit 5 MB in float16.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file as load_arrays
from safetensors.torch import load_file
from torch import Tensor, nn

from diffes.errors import QualityError
from diffes.precision import full_float32
from diffes.quality.frechet import GaussianStatistics

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
STATISTICS_FILE = "statistics.safetensors"
FORMAT = 1
IMAGE_SHAPE = (3, 32, 32)
_LAST_OF_LEVEL = (0, 2, 4, 6)  # positions in the trunk


@dataclass(frozen=True)
class FeatureNetConfig:
    """Channels of the four levels (32, 16, 8 and 4 pixels), features d, class names in order."""

    classes: tuple[str, ...]
    channels: tuple[int, int, int, int] = (64, 104, 208, 208)
    features: int = 128

    def __post_init__(self) -> None:
        if len(self.channels) != 4 or min(*self.channels, self.features, len(self.classes)) < 1:
            raise QualityError(
                "feature network cannot be built",
                expected="4 channel counts, features and classes, each at least 1",
                found=self,
            )

    def to_json(self) -> str:
        """The text of config.json."""
        fields = {
            "format": FORMAT,
            "channels": list(self.channels),
            "features": self.features,
            "classes": list(self.classes),
        }
        return json.dumps(fields, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> FeatureNetConfig:
        """Reads what `to_json` wrote. Raises QualityError for anything else."""
        try:
            fields = json.loads(text)
            if fields["format"] != FORMAT:
                raise QualityError("unknown feature network format", expected=FORMAT, found=fields["format"])
            return cls(tuple(fields["classes"]), tuple(fields["channels"]), fields["features"])
        except (ValueError, KeyError, TypeError) as error:
            raise QualityError(
                "feature network's config.json cannot be read",
                expected="format, channels, features, classes",
                found=repr(error),
            ) from error


class FeatureNet(nn.Module):
    """Images [N, 3, 32, 32] in [-1, 1] to logits [N, classes]."""

    def __init__(self, config: FeatureNetConfig) -> None:
        super().__init__()
        first, second, third, fourth = config.channels
        self.config = config
        self.trunk = nn.Sequential(
            _convolution(3, first),  # 32 x 32
            _convolution(first, second, pool=True),  # 16 x 16
            _Residual(second),
            _convolution(second, third, pool=True),  # 8 x 8
            _Residual(third),
            _convolution(third, fourth, pool=True),  # 4 x 4
            _Residual(fourth),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        # Neither ReLU nor a learned scale: a feature that is 0, or nearly, for every image would
        # make the covariance singular.
        self.embed = nn.Sequential(
            nn.Linear(fourth, config.features, bias=False),
            nn.BatchNorm1d(config.features, affine=False),
            nn.SiLU(),
        )
        self.head = nn.Linear(config.features, len(config.classes))

    def features(self, images: Tensor) -> Tensor:
        """What the classifier decides by: [N, d]. Outside training, an image and its mirror image give the same."""
        embedded: Tensor = self.embed(self.trunk(images))
        if not self.training:
            embedded = (embedded + self.embed(self.trunk(images.flip(-1)))) / 2
        return embedded

    def maps(self, images: Tensor) -> tuple[Tensor, ...]:
        """The last feature map of each of the four levels, [N, channels, 32, 32] down to [N, channels, 4, 4]."""
        found = []
        for index in range(_LAST_OF_LEVEL[-1] + 1):
            images = self.trunk[index](images)
            if index in _LAST_OF_LEVEL:
                found.append(images)
        return tuple(found)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images))
        return logits


@dataclass(frozen=True)
class FeatureBatch:
    """What the network sees in N images: features float64 [N, d], class numbers int64 [N]."""

    features: NDArray[np.float64]
    labels: NDArray[np.int64]


class FeatureExtractor:
    """A trained network and the statistics of the images it was trained on."""

    def __init__(
        self,
        net: FeatureNet,
        statistics: GaussianStatistics,
        *,
        device: torch.device | str = "cpu",
        batch: int = 512,
    ) -> None:
        if statistics.mean.shape != (net.config.features,):
            raise QualityError(
                "statistics belong to another network",
                expected=f"{net.config.features} features",
                found=len(statistics.mean),
            )
        self.net = net.to(device).eval().requires_grad_(False)
        self.statistics = statistics
        self._device = torch.device(device)
        self.batch = batch
        self._whitening = statistics.whitening()

    @classmethod
    def load(cls, folder: Path | str, device: torch.device | str = "cpu") -> FeatureExtractor:
        """Opens a folder of config.json, model.safetensors and statistics.safetensors.

        Raises QualityError when a file is missing, damaged or of another network.
        """
        folder = Path(folder)
        for name in (CONFIG_FILE, WEIGHTS_FILE, STATISTICS_FILE):
            if not (folder / name).is_file():
                raise QualityError(
                    "feature network is incomplete",
                    expected=folder / name,
                    found="no such file",
                    remedy="Run examples/train_cifar10_features.py, or name another folder.",
                )
        net = FeatureNet(FeatureNetConfig.from_json((folder / CONFIG_FILE).read_text("utf-8")))
        try:
            net.load_state_dict(load_file(folder / WEIGHTS_FILE))
            arrays = load_arrays(folder / STATISTICS_FILE)
            statistics = GaussianStatistics(arrays["mean"], arrays["covariance"], int(arrays["count"]))
        except (SafetensorError, RuntimeError, KeyError) as error:
            raise QualityError(
                "feature network cannot be loaded",
                expected=f"weights and statistics that fit {folder / CONFIG_FILE}",
                found=error,
            ) from error
        return cls(net, statistics, device=device)

    def __call__(self, images: Tensor) -> FeatureBatch:
        """Features and most likely class of `images` [N, 3, 32, 32] in [-1, 1], on any device.

        Raises QualityError for images of another shape.
        """
        _require_fit(images)
        features, labels = [], []
        with torch.inference_mode(), full_float32():
            for chunk in torch.split(images, self.batch):
                seen = self.net.features(chunk.to(self._device, torch.float32))
                features.append(seen.double().cpu())
                labels.append(self.net.head(seen).argmax(dim=1).cpu())
        return FeatureBatch(torch.cat(features).numpy(), torch.cat(labels).numpy())

    @torch.inference_mode()
    def maps(self, images: Tensor) -> tuple[Tensor, ...]:
        """The network's feature maps of `images` [N, 3, 32, 32] in [-1, 1], all at once, on its device.

        Raises QualityError for images of another shape.
        """
        _require_fit(images)
        with full_float32():
            return self.net.maps(images.to(self._device, torch.float32))

    def whiten(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Features [N, d] in coordinates in which the training images have unit covariance."""
        whitened: NDArray[np.float64] = (features - self.statistics.mean) @ self._whitening
        return whitened


def _require_fit(images: Tensor) -> None:
    if images.shape[1:] != IMAGE_SHAPE or len(images) == 0:
        raise QualityError(
            "images do not fit the feature network",
            expected=f"[N, {', '.join(map(str, IMAGE_SHAPE))}]",
            found=list(images.shape),
        )


def _convolution(inputs: int, outputs: int, *, pool: bool = False) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.GELU(),
    ]
    return nn.Sequential(*layers, nn.MaxPool2d(2)) if pool else nn.Sequential(*layers)


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_convolution(channels, channels), _convolution(channels, channels))

    def forward(self, images: Tensor) -> Tensor:
        changed: Tensor = self.body(images)
        return images + changed
