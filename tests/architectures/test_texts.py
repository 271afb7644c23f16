"""Text encoders say what diffusers' pipeline says of the same text."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from safetensors.torch import load_file

from diffes.architectures import Conditioning, architecture_for
from diffes.architectures.texts import TextEncoders, states_of
from diffes.checkpoint import Checkpoint
from diffes.errors import CheckpointError


@pytest.fixture(scope="module")
def pipeline(tiny_sdxl_folder: Path) -> StableDiffusionXLPipeline:
    return StableDiffusionXLPipeline.from_pretrained(tiny_sdxl_folder)


def texts_of(checkpoint: Checkpoint) -> TextEncoders:
    assert checkpoint.architecture.texts is not None
    return checkpoint.architecture.texts


@pytest.mark.parametrize("unwanted", [None, "", "a dog"])
def test_states_are_those_of_diffusers(
    tiny_sdxl: Checkpoint, pipeline: StableDiffusionXLPipeline, unwanted: str | None
) -> None:
    prompt = tiny_sdxl.wording.prompt(text="a red cat", unwanted=unwanted)
    rows = prompt.rows(tiny_sdxl.architecture.prompt_inputs()).branches(2.0)
    encoders = texts_of(tiny_sdxl).modules(tiny_sdxl.weights())
    with torch.no_grad():
        states, pooled = states_of(encoders, rows["tokens"], rows["present"])
        told = pipeline.encode_prompt("a red cat", negative_prompt=unwanted)

    torch.testing.assert_close(states, torch.cat(told[:2]), rtol=0, atol=2e-6)
    torch.testing.assert_close(pooled, torch.cat(told[2:]), rtol=0, atol=2e-6)
    assert bool((states[1] == 0).all()) == (unwanted is None)


def test_texts_lead_to_the_conditions_of_their_states(tiny_sdxl: Checkpoint) -> None:
    architecture, weights = tiny_sdxl.architecture, tiny_sdxl.weights()
    rows = tiny_sdxl.wording.examples.wanted
    with torch.no_grad():
        states, pooled = states_of(texts_of(tiny_sdxl).modules(weights), rows["tokens"], rows["present"])
        expected = Conditioning(architecture.alone, weights, "cpu").encode(
            {"states": states, "pooled": pooled, "time_ids": rows["time_ids"]}
        )
        found = Conditioning(architecture, weights, "cpu").encode(rows)

    for name, value in {**expected.features, **expected.constants}.items():
        torch.testing.assert_close({**found.features, **found.constants}[name], value, rtol=0, atol=1e-6)


def test_the_last_layer_of_an_encoder_that_is_not_pooled_is_no_weight(tiny_sdxl: Checkpoint) -> None:
    names = texts_of(tiny_sdxl).weights()

    assert "texts.1.text_projection.weight" in names
    assert "texts.0.encoder.layers.0.mlp.fc1.weight" in names
    assert not [name for name in names if name.startswith(("texts.0.encoder.layers.1.", "texts.0.final_layer_norm"))]


def test_files_of_older_versions_have_other_names_for_the_same(tiny_sdxl: Checkpoint) -> None:
    texts = texts_of(tiny_sdxl)
    files = [load_file(folder / "model.safetensors") for folder in tiny_sdxl.text_folders]
    bare = [{name.removeprefix("text_model."): tensor for name, tensor in file.items()} for file in files]
    older = [{f"text_model.{name}": tensor for name, tensor in file.items()} for file in bare]
    for file in older:
        file["text_model.embeddings.position_ids"] = torch.arange(77)[None]

    found, expected = texts.convert(older), texts.convert(files)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_tensors_that_do_not_fit_are_refused(tiny_sdxl: Checkpoint) -> None:
    texts = texts_of(tiny_sdxl)
    files = [load_file(folder / "model.safetensors") for folder in tiny_sdxl.text_folders]
    name = next(iter(files[0]))
    with pytest.raises(CheckpointError, match="text encoder 1 does not fit its config.*is on one side only"):
        texts.convert([{n: t for n, t in files[0].items() if n != name}, files[1]])
    with pytest.raises(CheckpointError, match=f"text encoder 1 does not fit its config at {name}"):
        texts.convert([files[0] | {name: files[0][name][:1]}, files[1]])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"_class_name": "T5EncoderModel"}, "unknown text encoder.*CLIPTextModel.*T5EncoderModel"),
        ({"_class_name": "CLIPTextModel"}, "last text encoder has no projection"),
        ({"max_position_embeddings": 50}, "different lengths"),
        ({"projection_dim": 21}, "do not fit the U-Net.*20.*21"),
    ],
)
def test_encoders_that_cannot_be_read_are_refused(tiny_sdxl: Checkpoint, change: dict[str, Any], match: str) -> None:
    config = json.loads(json.dumps(dict(tiny_sdxl.config)))
    config["text_encoders"][1] |= change
    with pytest.raises(CheckpointError, match=match):
        architecture_for(tiny_sdxl.class_name, config)
