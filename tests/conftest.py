"""A tiny DiT for every test: random weights in a diffusers folder, nothing trained, nothing downloaded."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from diffusers.models.transformers.dit_transformer_2d import DiTTransformer2DModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor

from diffes.bundle import Bundle
from diffes.checkpoint import Checkpoint
from diffes.pruning.calibration import Calibration, CalibrationSpec, calibrate
from diffes.pruning.data import looking_at
from diffes.schedule import Sampler
from export.request import ExportRequest, run_export
from tests import sdxl
from tests.bundles import TEN_STAGES, export
from tests.tritonserver import Server, Unavailable, installation

LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

torch.set_num_threads(1)  # tiny tensors: threads would only wait for each other


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep every calibration a test makes out of the user's cache, and traces for all processes of this run."""
    run, own = tmp_path_factory.getbasetemp(), tmp_path_factory.mktemp("cache")
    traces = (run.parent if "PYTEST_XDIST_WORKER" in os.environ else run) / "traces"
    traces.mkdir(exist_ok=True)
    (own / "traces").symlink_to(traces)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIFFES_CACHE", str(own))
        yield


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusers folder: 2 blocks of 4 heads x 8, patch 2, 3x8x8 pixels, 10 labels, DDIM. Copy it to damage it."""
    folder = tmp_path_factory.mktemp("models") / "tiny-dit"
    tiny_dit().half().save_pretrained(folder / "transformer")
    DDIMScheduler(beta_start=1e-4, beta_end=0.02, clip_sample=False).save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "DiTPipeline",
        "transformer": ["diffusers", "DiTTransformer2DModel"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "vae": [None, None],
        "id2label": {str(i): name for i, name in enumerate(LABELS)},
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


@pytest.fixture(scope="session")
def tiny_sdxl_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusers folder of a text-to-image model. Copy it to damage it."""
    return sdxl.save(sdxl.tiny_pipeline(), tmp_path_factory.mktemp("models") / "tiny-sdxl")


@pytest.fixture(scope="session")
def tiny_sdxl(tiny_sdxl_folder: Path) -> Checkpoint:
    """That folder, opened."""
    return Checkpoint.open(tiny_sdxl_folder)


@pytest.fixture(scope="session")
def tiny_sdxl_bundle(tiny_sdxl: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Two stages of it, nothing compensated: half of all heads and channels, and dense."""
    spec = CalibrationSpec(sampler=Sampler(class_name="DDIMScheduler", steps=2, guidance=5.0), images=4, batch=4)
    calibration = calibrate(tiny_sdxl, looking_at(spec, tiny_sdxl, None))
    return export(tiny_sdxl, [(2, 2), (0, 0)], calibration, tmp_path_factory.mktemp("bundles") / "tiny-sdxl")


@pytest.fixture(scope="session")
def tiny_sdxl_sized(tiny_sdxl: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Dense, for images of two more sizes."""
    out = tmp_path_factory.mktemp("bundles") / "sized"
    return run_export(ExportRequest(tiny_sdxl.folder, ("dense",), out, steps=4, sizes=("24x16", "16x32", "16x16")))


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_model_folder: Path) -> Checkpoint:
    """The tiny folder, opened."""
    return Checkpoint.open(tiny_model_folder)


@pytest.fixture(scope="session")
def tiny_weights(tiny_checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The tiny model's tensors in the architecture's layout and checkpoint order, float32."""
    converted = tiny_checkpoint.architecture.convert(tiny_checkpoint.denoiser_state())
    return {name: tensor.float() for name, tensor in converted.items()}


@pytest.fixture(scope="session")
def tiny_calibration(tiny_checkpoint: Checkpoint) -> Calibration:
    """Ordering and moments of the tiny model from 8 images of 4 DDIM steps at guidance 1.5."""
    sampler = Sampler(class_name="DDIMScheduler", steps=4, guidance=1.5)
    return calibrate(tiny_checkpoint, CalibrationSpec(sampler=sampler, images=8, batch=8))


@pytest.fixture(scope="session")
def tiny_bundle_folder(
    tiny_checkpoint: Checkpoint, tiny_calibration: Calibration, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A ten-stage bundle of the tiny model, nothing compensated. Copy it to damage it."""
    return export(tiny_checkpoint, TEN_STAGES, tiny_calibration, tmp_path_factory.mktemp("bundles") / "tiny").folder


@pytest.fixture(scope="session")
def tiny_bundle(tiny_bundle_folder: Path) -> Bundle:
    """The ten-stage bundle, opened."""
    return Bundle.open(tiny_bundle_folder)


@pytest.fixture(scope="session")
def start_triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Path], Server]]:
    """Starts a tritonserver on a repository; skips where there is none to start."""
    try:
        installation()
    except Unavailable as reason:
        pytest.skip(str(reason))
    started: list[Server] = []

    def start(repository: Path) -> Server:
        started.append(Server(repository, tmp_path_factory.mktemp("tritonserver") / "log"))
        started[-1].start()
        return started[-1]

    yield start
    for server in started:
        server.kill()


def tiny_dit(**config: float) -> DiTTransformer2DModel:
    """A DiT whose every weight matters: normal, scaled by fan-in, adaLN and biases too; one embedder for all blocks."""
    shape: dict[str, float] = {
        "num_attention_heads": 4,
        "attention_head_dim": 8,
        "num_layers": 2,
        "patch_size": 2,
        "sample_size": 8,
        "in_channels": 3,
        "out_channels": 3,
        "num_embeds_ada_norm": 10,
    }
    model = DiTTransformer2DModel(**(shape | config)).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        scale = parameter[0].numel() ** -0.5 if parameter.dim() > 1 else 0.1
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    for block in model.transformer_blocks:
        block.norm1.emb.load_state_dict(model.transformer_blocks[0].norm1.emb.state_dict())
    return model
