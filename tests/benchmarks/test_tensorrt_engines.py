"""The benchmark of engines: one engine for plans of several widths, measured without a run."""

import json
import shutil
from pathlib import Path

import pytest
from diffusers.models.transformers.dit_transformer_2d import DiTTransformer2DModel

from tests.conftest import tiny_dit
from tests.examples.scripts import run


@pytest.fixture(scope="module")
def model(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with heads that TensorRT fuses attention of."""
    folder = Path(shutil.copytree(tiny_model_folder, tmp_path_factory.mktemp("models") / "tiny"))
    wider: DiTTransformer2DModel = tiny_dit(attention_head_dim=16)
    wider.save_pretrained(folder / "transformer")
    return folder


def test_one_engine_serves_every_width_at_every_size_of_batch(model: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx-cu13 is not installed")
    done = run("benchmarks/tensorrt_engines.py", "--model", model, "--no-dit-xl", "--out", tmp_path / "engines.json")
    assert done.error is None, done.output
    document = json.loads((tmp_path / "engines.json").read_text())
    assert document["executed"] is False
    assert (document["package"], document["batches"]) == ("tensorrt_rtx", [2, 8, 32])
    made = {(row["dtype"], row["engine"]): row for row in document["engines"]}
    assert set(made) == {(dtype, what) for dtype in ("float32", "bfloat16") for what in ("denoiser", "condition")}
    for dtype in ("float32", "bfloat16"):
        denoiser = made[dtype, "denoiser"]
        assert denoiser["fused_attention"] == (dtype == "bfloat16")
        profiles = [(profile["kept"], profile["rows"]) for profile in denoiser["profiles"]]
        assert profiles == [(kept, rows) for kept in (1.0, 0.75, 0.5) for rows in (2, 8, 32)]
    assert made["float32", "denoiser"]["dense_weight_bytes"] == 2 * made["bfloat16", "denoiser"]["dense_weight_bytes"]
