"""Opening a bundle verifies every hash, shape and range; each kind of damage is refused by name."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

from diffes.blob import ALIGNMENT
from diffes.bundle import Bundle
from diffes.errors import BundleError, InvalidInput
from diffes.files import sha256_of
from diffes.manifest import MANIFEST
from diffes.sampling import trajectory


@pytest.fixture
def copy(tiny_bundle_folder: Path, tmp_path: Path) -> Path:
    """A bundle to damage."""
    return Path(shutil.copytree(tiny_bundle_folder, tmp_path / "copy"))


def edit_manifest(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    path = folder / MANIFEST
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))


def edit_graph(folder: Path, edit: Callable[[onnx.ModelProto], None]) -> None:
    """Change the first subgraph and its hash in the manifest: what only the range checks can find."""
    manifest = json.loads((folder / MANIFEST).read_text())
    path = folder / manifest["subgraphs"][0]["file"]
    model = onnx.load(path, load_external_data=False)
    edit(model)
    path.write_bytes(model.SerializeToString())
    manifest["subgraphs"][0]["sha256"] = sha256_of(path)
    (folder / MANIFEST).write_text(json.dumps(manifest))


def refused(folder: Path, *words: str) -> None:
    with pytest.raises(BundleError) as caught:
        Bundle.open(folder)
    for word in ("expected", "found", *words):
        assert word in str(caught.value)


def test_an_opened_bundle_offers_what_its_manifest_says(tiny_bundle: Bundle) -> None:
    assert tiny_bundle.default == "mixed"
    assert tiny_bundle.labels[8] == "ship"
    assert tiny_bundle.schedule() is tiny_bundle.schedule("mixed")
    assert set(tiny_bundle.subgraph_of) == {*tiny_bundle.schedule("dense").plans, *tiny_bundle.schedule("mixed").plans}
    assert tiny_bundle.trajectory(7) == trajectory("DDIMScheduler", tiny_bundle.manifest.scheduler, 7)


def test_subgraphs_know_the_stages_they_run(tiny_bundle: Bundle) -> None:
    for subgraph in tiny_bundle.manifest.subgraphs:
        for reference in subgraph.stages:
            stage = tiny_bundle.schedule(reference.schedule).stages[reference.stage]
            assert stage.blocks == subgraph.plan
    assert sum(len(subgraph.stages) for subgraph in tiny_bundle.manifest.subgraphs) == 10 + 1


def test_an_unknown_schedule_is_refused_with_the_names_there_are(tiny_bundle: Bundle) -> None:
    with pytest.raises(InvalidInput, match="one of dense, mixed, found fast"):
        tiny_bundle.schedule("fast")


def test_weights_are_views_of_the_mapped_blob(tiny_bundle: Bundle) -> None:
    whole = tiny_bundle.blob
    for subgraph in tiny_bundle.manifest.subgraphs:
        views = tiny_bundle.weights(subgraph)
        for name, spec in subgraph.prefixes.items():
            view = views[name.removeprefix("weights.")]
            assert view.data_ptr() == whole[spec.tensor].data_ptr()
            assert torch.equal(view, whole[spec.tensor][: spec.rows])


def test_every_tensor_of_the_blob_is_aligned(tiny_bundle: Bundle) -> None:
    assert all(entry.offset % ALIGNMENT == 0 for entry in tiny_bundle.blob.entries.values())


@pytest.mark.parametrize("pattern", ["*.onnx", "weights.safetensors"])
def test_a_flipped_byte_anywhere_is_refused(copy: Path, pattern: str) -> None:
    for path in copy.glob(pattern):
        data = bytearray(path.read_bytes())
        data[len(data) * 2 // 3] ^= 1
        path.write_bytes(data)
        refused(copy, path.name, "sha256")
        data[len(data) * 2 // 3] ^= 1
        path.write_bytes(data)
    Bundle.open(copy)


def test_a_missing_graph_is_refused(copy: Path) -> None:
    (copy / "condition.onnx").unlink()
    refused(copy, "condition.onnx is missing")


def test_a_truncated_blob_is_refused_by_its_size(copy: Path) -> None:
    blob = copy / "weights.safetensors"
    size = blob.stat().st_size
    with blob.open("r+b") as file:
        file.truncate(size - 1)
    refused(copy, f"{size} bytes", str(size - 1))


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, MANIFEST, "diffes export")


def test_a_manifest_of_a_newer_format_is_refused_naming_both(copy: Path) -> None:
    edit_manifest(copy, lambda m: m.update(format=3))
    refused(copy, "format 1 or 2", "format 3")


def test_a_schedule_of_another_model_is_refused(copy: Path) -> None:
    edit_manifest(copy, lambda m: m["schedules"]["mixed"]["model"].update(fingerprint="f" * 64))
    refused(copy, "mixed", "another model", "f" * 16)


def test_a_schedule_that_keeps_more_than_there_is_is_refused(copy: Path) -> None:
    def edit(manifest: dict[str, Any]) -> None:
        manifest["schedules"]["mixed"]["stages"][3]["blocks"][1] = [5, 128]

    edit_manifest(copy, edit)
    refused(copy, "stage 3", "(4, 128)", "(5, 128)")


def test_a_stage_without_a_subgraph_is_refused(copy: Path) -> None:
    def edit(manifest: dict[str, Any]) -> None:
        manifest["schedules"]["mixed"]["stages"][3]["blocks"][1] = [1, 127]

    edit_manifest(copy, edit)
    refused(copy, "stage 3 of schedule mixed has no subgraph")


def test_a_default_that_is_no_schedule_is_refused(copy: Path) -> None:
    edit_manifest(copy, lambda m: m.update(default="fast"))
    refused(copy, "fast", "mixed")


@pytest.mark.parametrize(
    ("edit", "where"),
    [
        (lambda m: m.update(colour="red"), "colour"),
        (lambda m: m["blob"].pop("sha256"), "blob.sha256"),
        (lambda m: m["blob"].update(file="../weights.safetensors"), "blob.file"),
        (lambda m: m["subgraphs"][0].update(plan=[[1, -1]]), "subgraphs.0.plan.0.1"),
        (lambda m: m["decode"].update(kind="vae"), "decode"),
    ],
    ids=["unknown field", "missing field", "path outside", "negative count", "vae without graph"],
)
def test_a_malformed_manifest_is_refused_at_the_field(
    copy: Path, edit: Callable[[dict[str, Any]], None], where: str
) -> None:
    edit_manifest(copy, edit)
    refused(copy, f"malformed at {where}")


def test_a_model_of_an_unknown_family_is_refused(copy: Path) -> None:
    edit_manifest(copy, lambda m: m["model"].update({"class": "Mystery"}))
    refused(copy, "Mystery", "DiTTransformer2DModel")


def move_a_weight(model: onnx.ModelProto) -> None:
    (entry,) = (e for e in model.graph.initializer[0].external_data if e.key == "offset")
    entry.value = str(int(entry.value) + 4)


def widen_a_weight(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] += 1


def point_outside(model: onnx.ModelProto) -> None:
    (entry,) = (e for e in model.graph.initializer[0].external_data if e.key == "location")
    entry.value = "other.safetensors"


def rename_a_weight(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].name = "weights.other"


def hide_a_weight(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(onnx.numpy_helper.from_array(torch.zeros(4096).numpy(), "hidden"))


@pytest.mark.parametrize(
    "edit", [move_a_weight, widen_a_weight, point_outside, rename_a_weight, hide_a_weight], ids=lambda e: e.__name__
)
def test_a_graph_that_reads_other_bytes_than_the_manifest_says_is_refused(
    copy: Path, edit: Callable[[onnx.ModelProto], None]
) -> None:
    edit_graph(copy, edit)
    refused(copy, ".onnx")


def test_a_prefix_longer_than_its_tensor_is_refused(copy: Path) -> None:
    def edit(manifest: dict[str, Any]) -> None:
        prefixes = manifest["subgraphs"][0]["prefixes"]
        prefixes["weights.blocks.0.fc1.bias"]["rows"] = 129

    edit_manifest(copy, edit)
    refused(copy, "blocks.0.fc1.bias")


class TestNetworks:
    """The graphs whose weights are inputs are verified like the others."""

    def test_a_bundle_of_format_1_is_read_and_has_none(self, copy: Path) -> None:
        def forget(manifest: dict[str, Any]) -> None:
            manifest["format"] = 1
            del manifest["networks"]
            for graph in (*manifest["subgraphs"], manifest["condition"]):
                del graph["network"]

        edit_manifest(copy, forget)
        opened = Bundle.open(copy)
        assert opened.manifest.format == 1
        with pytest.raises(BundleError, match=r"no network.*expected a bundle of format 2.*Export the bundle again"):
            opened.network(opened.manifest.condition)

    def test_a_network_that_the_manifest_lacks(self, copy: Path) -> None:
        edit_manifest(copy, lambda m: m["condition"].update(network="network-0.onnx"))
        refused(copy, "network-0.onnx")

    def test_a_network_of_another_graph(self, copy: Path) -> None:
        edit_manifest(copy, lambda m: m["condition"].update(network=m["subgraphs"][0]["network"]))
        refused(copy, "is not condition.onnx with its weights as inputs", "latents", "timesteps")

    def test_a_network_whose_weight_has_another_shape(self, copy: Path) -> None:
        manifest = json.loads((copy / MANIFEST).read_text())
        record = next(n for n in manifest["networks"] if n["file"] == manifest["condition"]["network"])
        path = copy / record["file"]
        model = onnx.load(path)
        weight = next(value for value in model.graph.input if value.name == "weights.ada.weight")
        weight.type.tensor_type.shape.dim[1].dim_value = 33
        path.write_bytes(model.SerializeToString())
        record["sha256"] = sha256_of(path)
        (copy / MANIFEST).write_text(json.dumps(manifest))
        refused(copy, "input weights.ada.weight does not fit condition.onnx", "33")
