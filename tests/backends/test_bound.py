"""Graphs on torch's memory: here a CPU's, on a GPU the same calls with its own."""

import shutil
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor

from diffes.backends.bound import BoundGraph
from diffes.bundle import Bundle
from diffes.errors import BackendError
from diffes.manifest import Graph, Subgraph
from diffes.rollout import seeded_noise
from tests.bundles import weights

CPU = torch.device("cpu")


def dense(bundle: Bundle) -> Subgraph:
    return next(graph for graph in bundle.manifest.subgraphs if graph.plan == bundle.architecture.dense)


def inputs(bundle: Bundle, rows: int) -> dict[str, Tensor]:
    conditions = {name: torch.ones(rows, *shape) for name, shape in bundle.architecture.condition_shapes().items()}
    return {"latents": seeded_noise(range(rows), bundle.architecture.latent_shape), **conditions}


def bound(
    bundle: Bundle, graph: Graph, changed: dict[str, Tensor] | None = None, folder: Path | None = None
) -> BoundGraph:
    path = (folder or bundle.folder) / graph.file
    return BoundGraph(path, graph.outputs, {**weights(bundle, graph), **(changed or {})}, CPU)


def test_a_bound_graph_computes_what_torch_does(tiny_bundle: Bundle) -> None:
    for subgraph in tiny_bundle.manifest.subgraphs:
        run = bound(tiny_bundle, subgraph)
        module = tiny_bundle.architecture.denoiser(subgraph.plan, tiny_bundle.weights(subgraph))
        for rows in (1, 4):
            given = inputs(tiny_bundle, rows)
            (found,) = run(**given)
            torch.testing.assert_close(found, module(**given), rtol=1e-4, atol=1e-4)


def test_weights_are_read_where_they_lie(tiny_bundle: Bundle) -> None:
    subgraph = dense(tiny_bundle)
    name = "weights.final.bias"
    mine = weights(tiny_bundle, subgraph)[name].clone()
    run = bound(tiny_bundle, subgraph, {name: mine})
    given = inputs(tiny_bundle, 2)
    before = run(**given)[0].clone()
    mine += 1
    assert float((run(**given)[0] - before).min()) > 0.5


def test_an_output_is_kept_until_it_is_let_go(tiny_bundle: Bundle) -> None:
    run = bound(tiny_bundle, dense(tiny_bundle))
    (first,) = run(**inputs(tiny_bundle, 2))
    copy = first.clone()
    run(**{name: -value for name, value in inputs(tiny_bundle, 2).items()})
    assert torch.equal(first, copy)


def test_a_graph_with_free_sides_is_of_every_size(tiny_sdxl_sized: Bundle) -> None:
    """Those of its outputs are those of the latents, or as many times them as the decoder makes pixels."""
    graph, decoder = dense(tiny_sdxl_sized), tiny_sdxl_sized.manifest.decode.graph
    assert decoder is not None
    denoise = bound(tiny_sdxl_sized, graph)
    module = tiny_sdxl_sized.architecture.denoiser(graph.plan, tiny_sdxl_sized.weights(graph))
    stored = dict(tiny_sdxl_sized.weights(decoder))
    decode = BoundGraph(tiny_sdxl_sized.folder / decoder.file, decoder.outputs, stored, CPU, grown=2)
    for sides in ((8, 8), (8, 12), (16, 8)):
        given = inputs(tiny_sdxl_sized, 2) | {"latents": seeded_noise(range(2), (4, *sides))}
        torch.testing.assert_close(denoise(**given)[0], module(**given), rtol=1e-4, atol=1e-4)
        assert decode(latents=given["latents"])[0].shape == (2, 3, 2 * sides[0], 2 * sides[1])


@pytest.mark.parametrize("wrong", ["shape", "type", "missing", "unknown"])
def test_a_weight_that_the_graph_does_not_read_so_is_refused(tiny_bundle: Bundle, wrong: str) -> None:
    subgraph = dense(tiny_bundle)
    name = "weights.blocks.0.fc2.weight"
    given = weights(tiny_bundle, subgraph)
    if wrong == "shape":
        given[name] = given[name][:-1]
    elif wrong == "type":
        given[name] = given[name].half()
    elif wrong == "missing":
        del given[name]
    else:
        given["weights.other"] = given[name]
    with pytest.raises(BackendError, match="is not what the graph reads.*expected .*found"):
        BoundGraph(tiny_bundle.folder / subgraph.file, subgraph.outputs, given, CPU)


def test_a_weight_that_would_be_folded_is_refused_by_bundles(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """ONNX Runtime folds the file's bytes through a Transpose and never looks at the weight it was given."""
    from export.placement import check_direct

    subgraph = dense(tiny_bundle)
    for file in (subgraph.file, tiny_bundle.manifest.blob.file):
        shutil.copy(tiny_bundle.folder / file, tmp_path / file)
    model = onnx.load(tmp_path / subgraph.file, load_external_data=False)
    name = "weights.blocks.0.out.weight"
    reader = next(node for node in model.graph.node if name in node.input)
    turned = [
        onnx.helper.make_node("Transpose", [source], [made], perm=[1, 0])
        for source, made in ((name, "once"), ("once", "twice"))
    ]
    reader.input[list(reader.input).index(name)] = "twice"
    nodes = [*turned, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, tmp_path / subgraph.file)

    changed = weights(tiny_bundle, subgraph)[name].clone() * 0
    given = inputs(tiny_bundle, 2)
    (ignored,) = bound(tiny_bundle, subgraph, {name: changed}, tmp_path)(**given)
    (right,) = bound(tiny_bundle, subgraph)(**given)
    torch.testing.assert_close(ignored, right)  # so this is why:
    with pytest.raises(Exception, match="Transpose stands between weight weights.blocks.0.out.weight and its use"):
        check_direct(model, subgraph.prefixes)


def test_inputs_in_pieces_are_refused(tiny_bundle: Bundle) -> None:
    given = inputs(tiny_bundle, 2)
    given["latents"] = given["latents"].transpose(2, 3)
    with pytest.raises(BackendError, match="contiguous"):
        bound(tiny_bundle, dense(tiny_bundle))(**given)
