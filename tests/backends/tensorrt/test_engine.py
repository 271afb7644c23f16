"""Weights are bound where the blob's copy has them; what cannot be loaded or bound is refused."""

import ctypes

import pytest
import torch

from diffes.backends.tensorrt.build import build
from diffes.backends.tensorrt.engine import LoadedEngine, weight_addresses
from diffes.backends.tensorrt.package import Package
from diffes.backends.tensorrt.profiles import EngineSpec
from diffes.bundle import Bundle
from diffes.errors import BackendError
from tests.backends.tensorrt.standin import MEMORY, Standin

Specs = tuple[EngineSpec, EngineSpec]


def test_an_address_is_where_the_prefix_begins(tiny_bundle: Bundle) -> None:
    size = tiny_bundle.manifest.blob.bytes
    copy = torch.from_file(str(tiny_bundle.blob.path), size=size, dtype=torch.uint8)
    for subgraph in tiny_bundle.manifest.subgraphs:
        addresses = weight_addresses(subgraph, tiny_bundle.blob.entries, copy.data_ptr())
        assert set(addresses) == set(subgraph.prefixes)
        for name, view in tiny_bundle.weights(subgraph).items():
            address = addresses[f"weights.{name}"]
            assert address % 256 == 0
            assert ctypes.string_at(address, view.nbytes) == view.contiguous().numpy().tobytes()


def test_equal_tensors_of_all_plans_lie_at_one_address(tiny_bundle: Bundle) -> None:
    entries = tiny_bundle.blob.entries
    addresses = {frozenset(weight_addresses(s, entries, 0).items()) for s in tiny_bundle.manifest.subgraphs}
    assert len(addresses) == 1  # nothing is compensated: plans differ in how far they read, not where


def test_a_copy_that_lies_askew_is_refused(tiny_bundle: Bundle) -> None:
    with pytest.raises(BackendError, match="not aligned: expected a multiple of 256, found 4128"):
        weight_addresses(tiny_bundle.manifest.condition, tiny_bundle.blob.entries, 4128)


def test_a_context_that_cannot_be_bound_is_refused(specs: Specs, tiny_bundle: Bundle) -> None:
    runtime = Standin()
    engine = LoadedEngine(runtime.package, MEMORY, specs[1], specs[1].network.read_bytes())
    condition = tiny_bundle.manifest.condition
    weights = weight_addresses(condition, tiny_bundle.blob.entries, 0)
    scratch = torch.empty(engine.scratch_bytes, dtype=torch.uint8)
    with pytest.raises(BackendError, match=r"cannot run condition\.onnx at 2 rows: expected profile 0 of 2"):
        engine.bind([condition], {condition.file: {**weights, "weights.unknown": 256}}, scratch)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_real_engine_is_refused_by_a_machine_without_a_gpu(rtx: Package, specs: Specs) -> None:
    with pytest.raises(BackendError, match=f"{rtx.version} cannot load its engine.*expected an engine that runs on"):
        LoadedEngine(rtx, MEMORY, specs[1], build(rtx, specs[1]))
