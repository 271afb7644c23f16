import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.transformers.dit_transformer_2d import DiTTransformer2DModel
from safetensors.torch import load_file, save_file

from diffes.checkpoint import Checkpoint
from diffes.errors import CheckpointError
from tests.architectures.tiny import tiny_pixart
from tests.conftest import LABELS
from tests.sdxl import PROMPTS

WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"
CONFIG = "transformer/config.json"
SCHEDULER = "scheduler/scheduler_config.json"


@pytest.fixture
def folder(tiny_model_folder: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(tiny_model_folder, tmp_path / "model"))


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_a_folder_opens_with_its_labels_shapes_and_scheduler(tiny_checkpoint: Checkpoint) -> None:
    assert tiny_checkpoint.class_name == "DiTTransformer2DModel"
    assert tiny_checkpoint.labels == LABELS
    assert tiny_checkpoint.train_timesteps == 1000
    assert tiny_checkpoint.vae_folder is None
    assert tiny_checkpoint.architecture.latent_shape == (3, 8, 8)


def test_a_vae_is_found_where_the_index_names_one(folder: Path) -> None:
    edit(folder / "model_index.json", lambda index: index.update(vae=["diffusers", "AutoencoderKL"]))
    assert Checkpoint.open(folder).vae_folder == folder / "vae"


def test_without_names_the_ids_are_the_labels(folder: Path) -> None:
    edit(folder / "model_index.json", lambda index: index.pop("id2label"))
    assert Checkpoint.open(folder).labels == tuple(str(i) for i in range(10))


def test_weights_are_read_in_the_dtype_of_the_file(tiny_checkpoint: Checkpoint) -> None:
    state = tiny_checkpoint.denoiser_state()
    model = DiTTransformer2DModel.from_pretrained(tiny_checkpoint.denoiser_folder, torch_dtype=torch.float16)
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())


def test_shards_are_read_as_one_model(folder: Path, tiny_checkpoint: Checkpoint) -> None:
    model = DiTTransformer2DModel.from_pretrained(folder / "transformer", torch_dtype=torch.float16)
    (folder / WEIGHTS).unlink()
    model.save_pretrained(folder / "transformer", max_shard_size="40KB")
    assert len(list((folder / "transformer").glob("*-of-*.safetensors"))) > 1
    expected, found = tiny_checkpoint.denoiser_state(), Checkpoint.open(folder).denoiser_state()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_files_beside_the_whole_model_are_left_alone(folder: Path, tiny_checkpoint: Checkpoint) -> None:
    shutil.copy(folder / WEIGHTS, folder / "transformer/diffusion_pytorch_model.bf16.safetensors")
    assert Checkpoint.open(folder).identity == tiny_checkpoint.identity


def test_a_tensor_held_by_two_shards_is_refused(folder: Path) -> None:
    for number in (1, 2):
        shard = f"transformer/diffusion_pytorch_model-0000{number}-of-00002.safetensors"
        shutil.copy(folder / WEIGHTS, folder / shard)
    (folder / WEIGHTS).unlink()
    with pytest.raises(CheckpointError, match="twice"):
        Checkpoint.open(folder).denoiser_state()


@pytest.mark.parametrize("suffix", [".bin", ".pt", ".pth", ".ckpt"])
def test_a_pickle_is_refused_and_never_opened(folder: Path, suffix: str) -> None:
    (folder / WEIGHTS).unlink()
    (folder / f"transformer/diffusion_pytorch_model{suffix}").write_bytes(b"not even a pickle")
    with pytest.raises(CheckpointError, match=rf"can run code.*found .*\{suffix}.*safe_serialization"):
        Checkpoint.open(folder)


@pytest.mark.parametrize("missing", ["model_index.json", CONFIG, SCHEDULER, WEIGHTS])
def test_a_missing_piece_is_named(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(CheckpointError, match=Path(missing).name.replace(".", r"\.")):
        Checkpoint.open(folder)


@pytest.mark.parametrize("file", ["model_index.json", CONFIG, SCHEDULER])
@pytest.mark.parametrize("content", ["", "{", "[1]", "\x80"])
def test_a_damaged_config_is_named(folder: Path, file: str, content: str) -> None:
    (folder / file).write_bytes(content.encode("latin-1"))
    with pytest.raises(CheckpointError, match=Path(file).name.replace(".", r"\.")):
        Checkpoint.open(folder)


@pytest.mark.parametrize("keep", [0, 4, 100, 5000])
def test_damaged_weights_are_named(folder: Path, keep: int) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"diffusion_pytorch_model\.safetensors is damaged"):
        Checkpoint.open(folder).denoiser_state()


def test_a_family_that_takes_texts_is_refused_until_they_can_be_encoded(folder: Path) -> None:
    shutil.rmtree(folder / "transformer")
    tiny_pixart().save_pretrained(folder / "transformer")

    with pytest.raises(CheckpointError, match=r"PixArtTransformer2DModel reads texts.*found none"):
        Checkpoint.open(folder)


def test_another_family_is_refused_with_the_known_ones(folder: Path) -> None:
    edit(folder / CONFIG, lambda config: config.update(_class_name="UNet2DModel"))
    with pytest.raises(CheckpointError, match="expected one of .*DiTTransformer2DModel.*found UNet2DModel"):
        Checkpoint.open(folder)


@pytest.mark.parametrize(
    ("names", "message"), [({"0": "airplane"}, r"expected ids 0\.\.9, found no 1"), (list(LABELS), "malformed")]
)
def test_incomplete_label_names_are_refused(folder: Path, names: Any, message: str) -> None:
    edit(folder / "model_index.json", lambda index: index.update(id2label=names))
    with pytest.raises(CheckpointError, match=message):
        Checkpoint.open(folder)


def test_a_scheduler_without_training_steps_is_refused(folder: Path) -> None:
    edit(folder / SCHEDULER, lambda config: config.pop("num_train_timesteps"))
    with pytest.raises(CheckpointError, match="num_train_timesteps"):
        Checkpoint.open(folder)


def test_a_fingerprint_changes_with_one_bit_of_a_weight(folder: Path, tiny_checkpoint: Checkpoint) -> None:
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (folder / WEIGHTS).write_bytes(data)
    assert Checkpoint.open(folder).identity != tiny_checkpoint.identity


@pytest.mark.parametrize(("file", "key", "value"), [(CONFIG, "norm_eps", 1e-4), (SCHEDULER, "beta_end", 0.03)])
def test_a_fingerprint_changes_with_a_config(
    folder: Path, tiny_checkpoint: Checkpoint, file: str, key: str, value: float
) -> None:
    edit(folder / file, lambda config: config.update({key: value}))
    assert Checkpoint.open(folder).identity != tiny_checkpoint.identity


def test_a_fingerprint_is_of_the_model_not_of_its_place_or_writer(folder: Path, tiny_checkpoint: Checkpoint) -> None:
    for file in (CONFIG, SCHEDULER):
        edit(folder / file, lambda config: config.update(_diffusers_version="0.1", _name_or_path="elsewhere"))
    assert Checkpoint.open(folder).identity == tiny_checkpoint.identity


def test_a_text_to_image_folder_opens_with_its_texts_and_what_encodes_them(
    tiny_sdxl: Checkpoint,
) -> None:
    assert tiny_sdxl.class_name == "UNet2DConditionModel"
    assert tiny_sdxl.labels == ()
    assert tiny_sdxl.texts == PROMPTS
    assert tiny_sdxl.image_size == (16, 16)
    assert [folder.name for folder in tiny_sdxl.text_folders] == ["text_encoder", "text_encoder_2"]
    assert {*tiny_sdxl.architecture.encoder_weights(), *tiny_sdxl.architecture.step_weights()} <= set(
        tiny_sdxl.weights()
    )


def test_texts_are_the_callers_or_the_folders_or_the_shipped_ones(tiny_sdxl_folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_sdxl_folder, tmp_path / "model"))
    mine = tmp_path / "mine.txt"
    mine.write_text("a bird\n")

    assert Checkpoint.open(copy, mine).texts == ("a bird",)
    (copy / "prompts.txt").unlink()
    assert len(Checkpoint.open(copy).texts) == 64


def test_texts_are_nothing_to_a_model_that_knows_classes(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("a bird\n")
    with pytest.raises(CheckpointError, match="reads no texts"):
        Checkpoint.open(folder, tmp_path / "mine.txt")


@pytest.mark.parametrize("part", ["text_encoder_2/model.safetensors", "tokenizer/tokenizer_config.json"])
def test_the_identity_is_that_of_what_encodes_texts_too(
    tiny_sdxl: Checkpoint, tiny_sdxl_folder: Path, tmp_path: Path, part: str
) -> None:
    copy = Path(shutil.copytree(tiny_sdxl_folder, tmp_path / "model"))
    assert Checkpoint.open(copy).identity == tiny_sdxl.identity
    if part.endswith("json"):
        shutil.copy(copy / "tokenizer_2" / "tokenizer_config.json", copy / part)
    else:
        state = load_file(copy / part)
        save_file({name: tensor + 1 for name, tensor in state.items()}, copy / part)
    assert Checkpoint.open(copy).identity != tiny_sdxl.identity
