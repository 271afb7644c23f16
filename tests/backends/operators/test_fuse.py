"""A fused graph computes what the file's does."""

from collections import Counter
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor

from diffes.backends.bound import BoundGraph
from diffes.backends.operators.abi import DOMAIN
from diffes.backends.operators.fuse import fuse, is_fused
from diffes.backends.sessions import open_session, run_session
from diffes.bundle import Bundle
from diffes.checkpoint import Checkpoint
from diffes.graphs import read_graph
from diffes.manifest import Subgraph
from diffes.pruning.calibration import Calibration
from diffes.rollout import seeded_noise
from tests.bundles import export, weights

CPU = torch.device("cpu")


def operators(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def path(bundle: Bundle, subgraph: Subgraph) -> Path:
    return bundle.folder / subgraph.file


def inputs(bundle: Bundle, rows: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    conditions = {
        name: torch.randn(rows, *shape, generator=generator)
        for name, shape in bundle.architecture.condition_shapes().items()
    }
    return {"latents": seeded_noise(range(rows), bundle.architecture.latent_shape), **conditions}


def test_every_half_that_is_there_ends_in_one_operator(tiny_bundle: Bundle) -> None:
    for subgraph in tiny_bundle.manifest.subgraphs:
        fused = operators(fuse(read_graph(path(tiny_bundle, subgraph))))
        assert fused["GatedNorm"] == sum((block.heads > 0) + (block.channels > 0) for block in subgraph.plan)
        assert fused["SelfAttention"] == sum(block.heads > 0 for block in subgraph.plan)
        assert not fused["MultiHeadAttention"]


def assert_the_same(bundle: Bundle) -> None:
    given = inputs(bundle, 3)
    for subgraph in bundle.manifest.subgraphs:
        graph = BoundGraph(path(bundle, subgraph), subgraph.outputs, weights(bundle, subgraph), CPU)
        (expected,) = run_session(open_session(path(bundle, subgraph), "cpu", 1), given)
        torch.testing.assert_close(graph(**given)[0], expected, rtol=1e-5, atol=1e-5)


def test_it_computes_what_the_file_does(tiny_bundle: Bundle) -> None:
    assert_the_same(tiny_bundle)


def test_an_offset_of_low_rank_factors_is_added_too(
    tiny_checkpoint: Checkpoint, tiny_calibration: Calibration, tmp_path: Path
) -> None:
    assert_the_same(export(tiny_checkpoint, [(1, 1), (2, 0)], tiny_calibration, tmp_path / "b", "low-rank:3"))


def test_attention_stays_where_its_kernel_does_not_fit(tiny_bundle: Bundle) -> None:
    dense = next(each for each in tiny_bundle.manifest.subgraphs if each.plan == tiny_bundle.architecture.dense)
    before = operators(read_graph(path(tiny_bundle, dense)))
    after = operators(fuse(read_graph(path(tiny_bundle, dense)), attention=False))
    assert after["MultiHeadAttention"] == before["MultiHeadAttention"] > 0
    assert after["GatedNorm"] == 2 * len(dense.plan)


def test_names_of_weights_and_outputs_stay(tiny_bundle: Bundle) -> None:
    for subgraph in tiny_bundle.manifest.subgraphs:
        before, after = read_graph(path(tiny_bundle, subgraph)), fuse(read_graph(path(tiny_bundle, subgraph)))
        assert [tensor.name for tensor in after.graph.initializer] == [
            tensor.name for tensor in before.graph.initializer
        ]
        assert [value.name for value in after.graph.output] == [value.name for value in before.graph.output]
        read = {name for node in after.graph.node for name in node.input}
        assert {tensor.name for tensor in after.graph.initializer} - {"ones"} <= read


def test_a_graph_without_blocks_needs_none_of_it(tiny_bundle: Bundle) -> None:
    condition = fuse(read_graph(tiny_bundle.folder / tiny_bundle.manifest.condition.file))
    assert not is_fused(condition)
    assert DOMAIN not in {opset.domain for opset in condition.opset_import}


@pytest.mark.parametrize("rows", [1, 4])
def test_rows_may_be_as_many_as_one_likes(tiny_bundle: Bundle, rows: int) -> None:
    subgraph = tiny_bundle.manifest.subgraphs[0]
    graph = BoundGraph(path(tiny_bundle, subgraph), subgraph.outputs, weights(tiny_bundle, subgraph), CPU)
    assert graph(**inputs(tiny_bundle, rows))[0].shape[0] == rows
