"""What is written with random weights is a model folder like any other."""

import runpy
import sys
from pathlib import Path

import pytest
import torch

from diffes.checkpoint import Checkpoint
from tests.architectures.tiny import UNETS, tiny_unet
from tests.examples.scripts import ROOT


def test_a_text_to_image_model_opens_and_reads_texts(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
        script = runpy.run_path(str(ROOT / "benchmarks" / "random_models.py"))
    config = {key: value for key, value in tiny_unet(**UNETS["small"]).config.items() if not key.startswith("_")}
    common = {"num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 600}
    encoders = (
        {"hidden_size": 8, "intermediate_size": 16, **common},
        {"hidden_size": 16, "intermediate_size": 16, "projection_dim": 20, **common},
    )
    script["write_sdxl"](config, tmp_path, torch.Generator().manual_seed(0), encoders)
    checkpoint = Checkpoint.open(tmp_path)

    assert checkpoint.image_size == (64, 64)
    assert len(checkpoint.wording.examples) == len(checkpoint.texts) == 64
    weights = checkpoint.weights()
    assert {weights[name].dtype for name in checkpoint.architecture.step_weights()} == {torch.bfloat16}
