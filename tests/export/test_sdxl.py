"""A text-to-image model from its folder to images: bundle, backends and engine beside diffusers' own pipeline."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionXLPipeline

from diffes.backends import open_backend
from diffes.bundle import Bundle
from diffes.bundled import bundled_text_to_image
from diffes.checkpoint import Checkpoint
from diffes.engine.engine import Engine
from diffes.engine.request import Request
from diffes.errors import BundleError, InvalidInput
from diffes.graphs import read_graph
from diffes.pruning.calibration import CalibrationSpec, calibrate
from diffes.pruning.data import looking_at
from diffes.rollout import initial_state, run, seeded_noise
from diffes.schedule import Sampler, executed_steps
from diffes.serving.warmup import warm_up
from diffes.sizes import WHOLE, Framing, Size
from export.request import ExportRequest, run_export

STEPS = 20
GUIDANCE = 5.0


def largest_difference(
    bundle: Bundle,
    folder: Path,
    backend: str,
    text: str,
    unwanted: str | None,
    size: Size | None = None,
    framing: Framing = WHOLE,
    unwanted_framing: Framing | None = None,
) -> float:
    """Of the pixels in [-1, 1] that a dense trajectory of two images gives, to those of diffusers' pipeline."""
    size = size or bundle.image_size
    pipeline = StableDiffusionXLPipeline.from_pretrained(folder, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    noise = seeded_noise([1, 2], bundle.latents_of(size))
    told = _told(framing, "") | ({} if unwanted_framing is None else _told(unwanted_framing, "negative_"))
    # one by one: of several images, diffusers 0.42 mixes up the framings of guidance's two branches
    images = [
        pipeline(
            text,
            height=size.height,
            width=size.width,
            negative_prompt=unwanted,
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            latents=one,
            output_type="pt",
            **told,
        ).images
        for one in noise.split(1)
    ]
    expected = torch.cat(images)
    opened, path = open_backend(backend, bundle), bundle.trajectory(STEPS)
    asked = bundle.wording.prompt(None, text, unwanted, size, framing, unwanted_framing)
    prompts = asked.rows(bundle.architecture.prompt_inputs())
    keys = [bundle.subgraph_of[bundle.architecture.dense]] * STEPS
    state = run(opened, keys, path, initial_state(path, noise), prompts.in_turn([0, 0]), GUIDANCE)
    found = opened.decode(state.latents)
    opened.close()
    assert expected.std() > 0.05
    return float((found - (expected * 2 - 1)).abs().max())


def _told(framing: Framing, prefix: str) -> dict[str, tuple[int, ...]]:
    """As the pipeline takes it: height before width."""
    given = {
        "original_size": framing.original,
        "crops_coords_top_left": framing.cropped,
        "target_size": framing.target,
    }
    return {f"{prefix}{name}": tuple(value) for name, value in given.items() if value is not None}


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
@pytest.mark.parametrize("unwanted", [None, "a dog"])
def test_images_are_those_of_diffusers_pipeline(
    tiny_sdxl_bundle: Bundle, tiny_sdxl_folder: Path, backend: str, unwanted: str | None
) -> None:
    assert largest_difference(tiny_sdxl_bundle, tiny_sdxl_folder, backend, "a red cat", unwanted) < 1e-5


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The trained model, dense."""
    out = tmp_path_factory.mktemp("bundles") / "shipped"
    return run_export(ExportRequest(bundled_text_to_image(), ("dense",), out, guidance=GUIDANCE))


@pytest.mark.parametrize("unwanted", [None, "a photo of a car"])
def test_images_of_the_shipped_model_are_those_of_diffusers_pipeline(shipped: Bundle, unwanted: str | None) -> None:
    folder = bundled_text_to_image()
    assert largest_difference(shipped, folder, "onnxruntime", "a photo of a red truck", unwanted) < 2e-3


def test_a_bundle_holds_tokenizers_and_texts(tiny_sdxl_bundle: Bundle, tiny_sdxl: Checkpoint) -> None:
    manifest = json.loads((tiny_sdxl_bundle.folder / "manifest.json").read_text())

    assert manifest["texts"] == list(tiny_sdxl.texts)
    assert [each["file"] for each in manifest["tokenizers"]] == ["tokenizer-1.json", "tokenizer-2.json"]
    again = Bundle.open(tiny_sdxl_bundle.folder).wording
    assert again.prompt(text="a red cat", unwanted="x") == tiny_sdxl.wording.prompt(text="a red cat", unwanted="x")


def test_a_damaged_tokenizer_is_found(tiny_sdxl_bundle: Bundle, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_sdxl_bundle.folder, tmp_path / "bundle"))
    with (copy / "tokenizer-2.json").open("a") as file:
        file.write(" ")
    with pytest.raises(BundleError, match="tokenizer-2.json is damaged"):
        Bundle.open(copy)


def test_the_engine_serves_texts_alone_and_in_company_alike(tiny_sdxl_bundle: Bundle) -> None:
    wording = tiny_sdxl_bundle.wording
    prompts = [wording.prompt(text="a red cat"), wording.prompt(text="a dog", unwanted="a cat"), wording.example(2)]
    engine = Engine(tiny_sdxl_bundle, open_backend("onnxruntime", tiny_sdxl_bundle))
    engine.start()
    try:
        alone = [engine.submit(Request(prompt=p, seed=n, steps=4)).result().images for n, p in enumerate(prompts)]
        together = [engine.submit(Request(prompt=p, seed=n, steps=4)) for n, p in enumerate(prompts)]
        for expected, found in zip(alone, together, strict=True):
            torch.testing.assert_close(found.result().images, expected, rtol=0, atol=1e-5)
    finally:
        engine.close(drain=False)


def test_few_step_models_run_without_guidance(tiny_sdxl: Checkpoint, tmp_path: Path) -> None:
    request = ExportRequest(
        tiny_sdxl.folder, ("uniform:0.5",), tmp_path / "b", guidance=0, steps=4, stages=10, calibration_images=2
    )
    bundle = run_export(request)
    sampler = bundle.schedule().sampler
    executed = executed_steps([(s.high, s.low) for s in bundle.schedule().stages], bundle.trajectory(4).timesteps)
    assert (sampler.guidance, sampler.steps, sum(executed), max(executed)) == (1, 4, 4, 1)
    assert bundle.schedule().cost.dense_macs == 4 * tiny_sdxl.architecture.macs(tiny_sdxl.architecture.dense)


def test_other_texts_than_those_of_the_spec_are_refused(tiny_sdxl: Checkpoint, tmp_path: Path) -> None:
    spec = CalibrationSpec(sampler=Sampler(class_name="DDIMScheduler", steps=1, guidance=2.0), images=2)
    mine = tmp_path / "mine.txt"
    mine.write_text("a bird\n")
    other = Checkpoint.open(tiny_sdxl.folder, mine)

    assert looking_at(spec, other, None).digest("x") != looking_at(spec, tiny_sdxl, None).digest("x")
    with pytest.raises(InvalidInput, match="invalid prompts.*texts of digest"):
        calibrate(other, looking_at(spec, tiny_sdxl, None))


def test_images_say_no_text_to_calibrate_on(tiny_sdxl: Checkpoint, tmp_path: Path) -> None:
    spec = CalibrationSpec(sampler=Sampler(class_name="DDIMScheduler", steps=1, guidance=2.0), images=2)
    with pytest.raises(InvalidInput, match="images say no text"):
        looking_at(spec, tiny_sdxl, tmp_path)


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
@pytest.mark.parametrize("size", [Size(16, 24), Size(32, 16)], ids=str)
def test_images_of_other_sizes_are_those_of_diffusers_pipeline(
    tiny_sdxl_sized: Bundle, tiny_sdxl_folder: Path, backend: str, size: Size
) -> None:
    assert tiny_sdxl_sized.sizes == (Size(16, 16), Size(16, 24), Size(32, 16))
    assert largest_difference(tiny_sdxl_sized, tiny_sdxl_folder, backend, "a red cat", None, size) < 1e-5


@pytest.mark.parametrize("unwanted", [None, Framing(Size(48, 64), (2, 0), Size(16, 16))], ids=["alike", "own"])
def test_what_was_cut_is_told_as_diffusers_pipeline_tells_it(
    tiny_sdxl_bundle: Bundle, tiny_sdxl_folder: Path, unwanted: Framing | None
) -> None:
    asked = tiny_sdxl_bundle, tiny_sdxl_folder, "torch", "a red cat", "a dog", None
    framing = Framing(Size(64, 32), (4, 8), Size(24, 16))
    assert largest_difference(*asked, framing, unwanted) < 1e-5


def test_a_blocks_keys_and_values_are_cut_out_of_the_text_in_one_piece(tiny_sdxl_bundle: Bundle) -> None:
    for subgraph in tiny_sdxl_bundle.manifest.subgraphs:
        nodes = read_graph(tiny_sdxl_bundle.folder / subgraph.file).graph.node
        cuts = [node.output[0] for node in nodes if node.op_type == "Slice" and node.input[0] == "text"]
        assert len(cuts) == 2 * len(subgraph.plan)
        assert not [node for node in nodes if node.op_type == "Slice" and node.input[0] in cuts]


def test_the_engine_serves_mixed_sizes_each_as_if_alone(tiny_sdxl_sized: Bundle) -> None:
    engine = Engine(tiny_sdxl_sized, open_backend("onnxruntime", tiny_sdxl_sized))
    engine.start()
    sizes = [None, Size(16, 24), Size(32, 16), Size(16, 24)]
    wording = tiny_sdxl_sized.wording
    asked = [Request(prompt=wording.example(n, size), seed=n, steps=4, size=size) for n, size in enumerate(sizes)]
    try:
        alone = [engine.submit(request).result() for request in asked]
        together = [engine.submit(request) for request in asked]
        for expected, found in zip(alone, together, strict=True):
            torch.testing.assert_close(found.result().images, expected.images, rtol=0, atol=1e-5)
    finally:
        engine.close(drain=False)
    assert [result.images.shape[2:] for result in alone] == [(16, 16), (16, 24), (32, 16), (16, 24)]
    assert [result.request.size for result in alone] == [Size(16, 16), *sizes[1:]]


def test_a_size_the_bundle_is_not_for_is_refused(tiny_sdxl_sized: Bundle, tiny_sdxl_bundle: Bundle) -> None:
    for bundle, known in ((tiny_sdxl_sized, "16x16, 24x16, 16x32"), (tiny_sdxl_bundle, "16x16")):
        engine = Engine(bundle, open_backend("onnxruntime", bundle))
        with pytest.raises(InvalidInput, match=f"invalid size: expected one of {known}, found 32x32"):
            engine.submit(Request(prompt=bundle.wording.example(0), seed=0, size=Size(32, 32)))


def test_a_warm_up_measures_every_size(tiny_sdxl_sized: Bundle) -> None:
    subgraph = tiny_sdxl_sized.manifest.subgraphs[0].id
    costs = warm_up(tiny_sdxl_sized, open_backend("onnxruntime", tiny_sdxl_sized), 1)

    assert costs.measured.keys() == {subgraph, f"{subgraph} at 24x16", f"{subgraph} at 16x32"}


@pytest.mark.parametrize(
    ("size", "match"), [("10x16", "multiples of 4, found 10x16"), ("16", "WIDTHxHEIGHT"), ("0x16", "WIDTHxHEIGHT")]
)
def test_sizes_that_cannot_be_are_refused(tiny_sdxl: Checkpoint, tmp_path: Path, size: str, match: str) -> None:
    with pytest.raises(InvalidInput, match=match):
        run_export(ExportRequest(tiny_sdxl.folder, ("dense",), tmp_path / "b", sizes=(size,)))


def test_a_model_of_one_size_is_exported_for_no_other(tiny_checkpoint: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="8x8: this model makes images of one size"):
        run_export(ExportRequest(tiny_checkpoint.folder, ("dense",), tmp_path / "b", sizes=("16x16",)))
