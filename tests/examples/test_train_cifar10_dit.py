"""The training resumes exactly, and saves what diffusers and Diffes open."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers.models.transformers.dit_transformer_2d import DiTTransformer2DModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from safetensors.torch import load_file

from tests.examples import scripts
from tests.examples.scripts import ROOT

SCRIPT = "examples/train_cifar10_dit.py"
WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


def train(data: Path, folder: Path, *more: object, batch: int = 2) -> str | int | None:
    return scripts.train(SCRIPT, data, folder, "--batch", batch, *more)


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    assert train(data, folder) is None
    return folder


def test_a_resumed_training_equals_an_uninterrupted_one_bit_for_bit(finished: Path, data: Path, tmp_path: Path) -> None:
    assert train(data, tmp_path, "--pause-after-steps", 2) is None
    assert not (tmp_path / "out").exists()
    assert train(data, tmp_path, "--resume") is None
    assert (tmp_path / "out" / WEIGHTS).read_bytes() == (finished / "out" / WEIGHTS).read_bytes()
    one, other = (torch.load(folder / "work" / "checkpoint.pt", weights_only=True) for folder in (finished, tmp_path))
    assert all(torch.equal(one["model"][name], other["model"][name]) for name in one["model"])


def test_a_checkpoint_is_not_overwritten_unasked(finished: Path, data: Path) -> None:
    assert "--resume" in str(train(data, finished))


def test_a_checkpoint_of_another_recipe_is_refused(finished: Path, data: Path) -> None:
    assert "Expected the recipe" in str(train(data, finished, "--resume", batch=4))


def test_diffusers_loads_every_weight(finished: Path) -> None:
    model, loading = DiTTransformer2DModel.from_pretrained(
        finished / "out",
        subfolder="transformer",
        low_cpu_mem_usage=False,
        output_loading_info=True,
    )
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    assert model.config.num_layers == 12


def test_weights_are_half_precision_and_every_block_holds_the_same_embedder(
    finished: Path,
) -> None:
    weights = load_file(finished / "out" / WEIGHTS)
    assert {value.dtype for value in weights.values()} == {torch.float16}
    name = "transformer_blocks.{}.norm1.emb.class_embedder.embedding_table.weight"
    assert weights[name.format(0)].shape == (11, 256)
    assert torch.equal(weights[name.format(0)], weights[name.format(11)])


def test_the_index_names_classes_and_the_sampler_is_ddim(finished: Path) -> None:
    index = json.loads((finished / "out" / "model_index.json").read_text())
    assert index["id2label"]["3"] == "cat"
    scheduler = DDIMScheduler.from_pretrained(finished / "out", subfolder="scheduler")
    assert scheduler.config.prediction_type == "epsilon"
    assert scheduler.config.clip_sample is False


def test_the_log_holds_a_line_of_json_a_note(finished: Path) -> None:
    lines = (finished / "work" / "log.jsonl").read_text().splitlines()
    assert {"step", "loss", "rate", "images_a_second"} <= json.loads(lines[0]).keys()


def test_a_training_begins_with_the_weights_of_an_earlier_one(finished: Path, data: Path, tmp_path: Path) -> None:
    assert train(data, tmp_path, "--from", finished / "out", "--pause-after-steps", 1) is None
    begun = torch.load(tmp_path / "work" / "checkpoint.pt", weights_only=True)
    given = load_file(finished / "out" / WEIGHTS)
    moved = max(float((begun["model"][name] - weight.float()).abs().max()) for name, weight in given.items())
    assert 0 < moved < 1e-4  # one step of the warm-up


def test_two_processes_train_the_weights_of_one_up_to_rounding(finished: Path, data: Path, tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    options = ["--data", data, "--out", tmp_path / "out", "--work", tmp_path / "work", "--steps", 3, "--batch", 2]
    command = [*torchrun, ROOT / SCRIPT, *options, "--device", "cpu", "--no-compile"]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    one, two = (torch.load(folder / "work" / "checkpoint.pt", weights_only=True) for folder in (finished, tmp_path))
    assert two["step"] == 3
    assert torch.equal(one["generator"], two["generator"])
    # weights have hardly moved after three steps; the averages of their gradients say what each step was
    ours, theirs = (
        torch.cat([each["exp_avg"].flatten() for each in state["optimizer"]["state"].values()]) for state in (one, two)
    )
    assert float((ours - theirs).norm()) <= 1e-3 * float(ours.norm())
