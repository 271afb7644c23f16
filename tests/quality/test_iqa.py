"""Scores by pyiqa, in whose place stands a module of two metrics: it is an optional package of many megabytes."""

import sys
from types import ModuleType

import pytest
import torch
from torch import Tensor

from diffes.errors import QualityError
from diffes.quality.iqa import ImageScore


class Metric:
    """The mean of each image in [0, 1], better high or low."""

    def __init__(self, name: str) -> None:
        self.lower_better = name == "dark"
        self.sizes: list[int] = []

    def __call__(self, images: Tensor) -> Tensor:
        assert images.min() >= 0
        assert images.max() <= 1
        self.sizes.append(len(images))
        return images.mean(dim=(1, 2, 3), keepdim=True).flatten(1)  # [N, 1], as some of pyiqa's are


@pytest.fixture
def pyiqa(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("pyiqa")
    module.list_models = lambda _mode: ["bright", "dark", "fid_dinov2", "inception_score"]  # type: ignore[attr-defined]
    module.create_metric = lambda name, device: Metric(name)  # type: ignore[attr-defined] # noqa: ARG005
    monkeypatch.setitem(sys.modules, "pyiqa", module)


IMAGES = torch.linspace(-1, 1, 5 * 12).reshape(5, 3, 2, 2)


@pytest.mark.usefixtures("pyiqa")
def test_smaller_is_better_whichever_way_the_metric_counts() -> None:
    bright, dark = ImageScore("bright", batch=2), ImageScore("dark", batch=2)

    assert bright(IMAGES + 0.2) < bright(IMAGES)
    assert dark(IMAGES - 0.2) < dark(IMAGES)
    assert bright(IMAGES) == pytest.approx(-dark(IMAGES)) == pytest.approx(-0.5)


@pytest.mark.usefixtures("pyiqa")
def test_batches_do_not_change_it() -> None:
    assert ImageScore("bright", batch=2)(IMAGES) == pytest.approx(ImageScore("bright", batch=5)(IMAGES))


@pytest.mark.usefixtures("pyiqa")
@pytest.mark.parametrize("name", ["nothing", "fid_dinov2", "inception_score"])
def test_a_metric_that_is_not_there_or_scores_sets_is_refused(name: str) -> None:
    with pytest.raises(QualityError, match=f"expected one of bright, dark, found {name}"):
        ImageScore(name)


def test_without_the_package_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    with pytest.raises(QualityError, match=r"pip install diffes\[iqa\]"):
        ImageScore("niqe")
