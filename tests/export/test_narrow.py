"""Bundles of 16-bit weights: half the bytes, the same graphs, and torch's own images to that type's precision."""

import onnx
import pytest
import torch

from diffes.backends import open_backend
from diffes.backends.remote.host import Host
from diffes.backends.remote.protocol import encode
from diffes.bundle import Bundle
from diffes.checkpoint import Checkpoint
from diffes.errors import BackendError, BundleError
from diffes.manifest import DtypeName
from diffes.pruning.calibration import Calibration
from diffes.rollout import seeded_noise
from export.job import export_bundle
from export.triton import Hosting, config_text
from export.verify import verify_graph
from tests.bundles import levels_schedule

# of outputs of magnitude 1, after two blocks in that type
PRECISION: dict[DtypeName, float] = {"float16": 5e-3, "bfloat16": 5e-2}


@pytest.fixture(scope="module", params=list(PRECISION))
def narrow(
    request: pytest.FixtureRequest,
    tiny_checkpoint: Checkpoint,
    tiny_calibration: Calibration,
    tmp_path_factory: pytest.TempPathFactory,
) -> Bundle:
    schedule = levels_schedule(tiny_checkpoint, [(0, 0), (1, 2), (4, 1), (0, 4)], "full")
    out = tmp_path_factory.mktemp("narrow") / "bundle"
    return export_bundle(tiny_checkpoint, {"mixed": schedule}, "mixed", tiny_calibration, out, dtype=request.param)


@pytest.fixture(scope="module")
def wide(
    tiny_checkpoint: Checkpoint, tiny_calibration: Calibration, tmp_path_factory: pytest.TempPathFactory
) -> Bundle:
    schedule = levels_schedule(tiny_checkpoint, [(0, 0), (1, 2), (4, 1), (0, 4)], "full")
    out = tmp_path_factory.mktemp("wide") / "bundle"
    return export_bundle(tiny_checkpoint, {"mixed": schedule}, "mixed", tiny_calibration, out)


def test_every_weight_takes_two_bytes(narrow: Bundle, wide: Bundle) -> None:
    assert {entry.dtype for name, entry in narrow.blob.entries.items()} == {narrow.dtype}
    assert narrow.manifest.blob.dense_bytes * 2 == wide.manifest.blob.dense_bytes


def test_graphs_take_and_give_what_the_manifest_says(narrow: Bundle) -> None:
    for graph in narrow.manifest.graphs:
        model = onnx.load(narrow.folder / graph.file, load_external_data=False)
        types = {value.name: value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)}
        for spec in (*graph.inputs, *graph.outputs):
            named = onnx.helper.tensor_dtype_to_np_dtype(types[spec.name]).name
            assert spec.dtype == named
            assert spec.dtype == narrow.manifest.dtype or spec.name in ("timesteps", "labels")


def test_torch_computes_what_it_does_in_float32_to_the_types_precision(narrow: Bundle, wide: Bundle) -> None:
    latents, timesteps, labels = seeded_noise(range(3), (3, 8, 8)), torch.tensor([7.0, 500.0, 999.0]), torch.arange(3)
    backends = [open_backend("torch", bundle, "cpu", 1) for bundle in (narrow, wide)]
    for subgraph in narrow.manifest.subgraphs:
        found, exact = (b.denoise(subgraph.id, latents, b.condition(timesteps, {"labels": labels})) for b in backends)
        assert 0 < float((found - exact).abs().max()) <= PRECISION[narrow.manifest.dtype] * float(exact.abs().max())
    for backend in backends:
        backend.close()


def test_verification_sees_a_wrong_range_of_a_narrow_blob(narrow: Bundle) -> None:
    subgraph = next(graph for graph in narrow.manifest.subgraphs if graph.plan == narrow.architecture.dense)
    module = narrow.architecture.denoiser(subgraph.plan, narrow.weights(subgraph))
    conditions = {name: torch.ones(3, *shape) for name, shape in narrow.architecture.condition_shapes().items()}
    inputs = {"latents": seeded_noise(range(3), (3, 8, 8)), **conditions}
    inputs = {name: value.to(narrow.dtype) for name, value in inputs.items()}
    path = narrow.folder / subgraph.file
    assert verify_graph(path, module, inputs, subgraph.prefixes, narrow.blob) < 1e-4

    first, second = (f"weights.blocks.{block}.fc1.weight" for block in (0, 1))
    swapped = dict(subgraph.prefixes)
    swapped[first], swapped[second] = swapped[second], swapped[first]
    with pytest.raises(BundleError, match="does not compute what torch computes"):
        verify_graph(path, module, inputs, swapped, narrow.blob)


def test_a_runtime_without_the_type_refuses_the_bundle(narrow: Bundle) -> None:
    with pytest.raises(BackendError, match=f"expected float32, found {narrow.manifest.dtype}"):
        open_backend("onnxruntime", narrow, "cpu", 1)


def test_triton_is_told_float32_whatever_a_bundle_calculates_in(narrow: Bundle) -> None:
    text = config_text(narrow, Hosting(backend="torch"))
    assert "TYPE_FP32" in text
    assert "FP16" not in text
    assert "BF16" not in text


def test_a_host_answers_in_float32(narrow: Bundle) -> None:
    host = Host.open(narrow.folder, {"backend": "torch", "device": "cpu", "threads": "1", "max_rows": "8"})
    inputs = {"timesteps": torch.tensor([7.0, 500.0]), "labels": torch.tensor([0, 3])}
    answer = host.answer({"operation": encode("condition"), **inputs})
    assert {tensor.dtype for tensor in answer.values()} == {torch.float32}
    host.close()
