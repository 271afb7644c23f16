"""The benchmark judges the images that diffusers makes, whatever the batch."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.transformers.dit_transformer_2d import DiTTransformer2DModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from PIL import Image
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file

from diffes.quality.features import FeatureNet, FeatureNetConfig
from tests.examples.scripts import run

CLASSES = ("cat", "dog", "owl")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("dit")
    DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=1,
        patch_size=8,
        sample_size=32,
        in_channels=3,
        num_embeds_ada_norm=len(CLASSES),
    ).save_pretrained(folder / "transformer")
    DDIMScheduler(clip_sample=False).save_pretrained(folder / "scheduler")
    index = {"id2label": {str(number): name for number, name in enumerate(CLASSES)}}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = FeatureNetConfig(CLASSES, channels=(4, 4, 4, 4), features=4)
    folder = tmp_path_factory.mktemp("features")
    (folder / "config.json").write_text(config.to_json())
    save_file(FeatureNet(config).state_dict(), folder / "model.safetensors")
    statistics = {"mean": np.zeros(4), "covariance": np.eye(4), "count": np.array(100)}
    save_arrays(statistics, folder / "statistics.safetensors")
    return folder


def judge(model: Path, features: Path, out: Path, *more: object) -> dict[str, Any]:
    done = run(
        "benchmarks/model_quality.py",
        *(model, "--features", features, "--out", out, "--device", "cpu"),
        *("--images", 30, "--steps", 2, *more),
    )
    assert done.error is None
    report: dict[str, Any] = json.loads((out / "quality.json").read_text())
    return report


def test_the_report_says_what_was_measured_and_how(model: Path, features: Path, tmp_path: Path) -> None:
    report = judge(model, features, tmp_path)
    assert report["images"] == 30
    assert 0 <= report["class_accuracy"] <= 1
    assert report["frechet_distance_to_data"] >= 0
    assert (report["steps"], report["guidance"]) == (2, 1.5)
    assert report["timestep_spacing"] == "leading"
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (8 * 32 * 2, len(CLASSES) * 32 * 2)


def test_figures_do_not_depend_on_the_batch(model: Path, features: Path, tmp_path: Path) -> None:
    whole = judge(model, features, tmp_path / "whole")
    parts = judge(model, features, tmp_path / "parts", "--batch", 7)
    assert parts["class_accuracy"] == whole["class_accuracy"]
    assert parts["frechet_distance_to_data"] == pytest.approx(whole["frechet_distance_to_data"], rel=1e-3)


def test_a_sampler_setting_can_be_overridden(model: Path, features: Path, tmp_path: Path) -> None:
    report = judge(model, features, tmp_path, "--timestep-spacing", "trailing", "--clip-sample")
    assert (report["timestep_spacing"], report["clip_sample"]) == ("trailing", True)
