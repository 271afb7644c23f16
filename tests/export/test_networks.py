"""A network is the graph with its weights as inputs: one serves every width, and it computes what torch computes."""

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from diffes.backends.sessions import open_session, run_session
from diffes.blob import Entry, read_header, write_blob
from diffes.bundle import Bundle
from diffes.checkpoint import Checkpoint
from diffes.errors import BundleError
from diffes.graphs import inline_tensors, read_graph, tensor_specs
from diffes.manifest import PrefixSpec, Subgraph
from diffes.pruning.calibration import Calibration
from diffes.pruning.model import PrunedModel
from diffes.rollout import seeded_noise
from export.networks import as_network, write_networks
from export.pieces import Piece, condition_piece
from export.weights import Weights
from export.writer import BLOB, write_graphs
from tests.bundles import export


def network_path(bundle: Bundle, subgraph: Subgraph) -> Path:
    return bundle.folder / bundle.network(subgraph).file


def test_one_network_serves_every_width(
    tiny_bundle: Bundle, tiny_checkpoint: Checkpoint, tiny_calibration: Calibration
) -> None:
    state = tiny_checkpoint.architecture.convert(tiny_checkpoint.denoiser_state())
    model = PrunedModel(tiny_checkpoint.architecture, state, tiny_calibration, "none")
    subgraphs = tiny_bundle.manifest.subgraphs
    (path,) = {network_path(tiny_bundle, subgraph) for subgraph in subgraphs}
    session = open_session(path, "cpu", 1)
    latents = seeded_noise(range(3), (3, 8, 8))
    conditions = model.condition(torch.tensor([3.0, 400.0, 900.0]), {"labels": torch.tensor([0, 4, 10])})
    widths = set()
    for subgraph in subgraphs:
        weights = {f"weights.{name}": tensor for name, tensor in tiny_bundle.weights(subgraph).items()}
        widths.add(weights["weights.blocks.0.fc1.weight"].shape)
        (found,) = run_session(session, {"latents": latents, **conditions, **weights})
        expected = model.denoise(subgraph.plan, latents, conditions)
        assert (found - expected).abs().max() <= 1e-4 * max(1.0, float(expected.abs().max()))
    assert len(widths) >= 3


def test_a_network_holds_no_weight_and_only_onnx_operators(tiny_bundle: Bundle) -> None:
    for network in tiny_bundle.manifest.networks:
        model = read_graph(tiny_bundle.folder / network.file)
        assert not any(node.domain for node in model.graph.node)
        assert not any(t.data_location == onnx.TensorProto.EXTERNAL for t in model.graph.initializer)
        assert max(tensor.ByteSize() for tensor in inline_tensors(model)) < 2000
        assert (tiny_bundle.folder / network.file).stat().st_size < 60_000


def test_axes_that_levels_cut_are_free_and_those_of_one_size_have_one_name(tiny_bundle: Bundle) -> None:
    dense = tiny_bundle.manifest.subgraphs[0]
    model = read_graph(network_path(tiny_bundle, dense))
    axes = {value.name: value.type.tensor_type.shape.dim[0].dim_param for value in model.graph.input}
    layers = [f"weights.blocks.1.{name}" for name in ("fc1.weight", "fc1.bias", "fc2.weight")]
    assert {axes[name] for name in layers} == {"channels_1_x1"}
    assert axes["weights.blocks.0.qkv.weight"] == axes["weights.blocks.0.qkv.bias"] == "heads_0_x24"
    assert axes["weights.blocks.0.out.weight"] == "heads_0_x8"
    assert axes["weights.blocks.0.out.bias"] == axes["weights.pos_embed"] == ""
    assert axes["latents"] == axes["modulation"] != ""


def test_a_skipped_half_is_another_network(
    tiny_checkpoint: Checkpoint, tiny_calibration: Calibration, tmp_path: Path
) -> None:
    bundle = export(tiny_checkpoint, [(4, 2), (4, 1), (1, 1)], tiny_calibration, tmp_path / "b", "full")
    used = {subgraph.plan: network_path(bundle, subgraph) for subgraph in bundle.manifest.subgraphs}
    headless = {path for plan, path in used.items() if plan[0].heads == 0}
    assert len(headless) == 1
    assert len(set(used.values())) == 2
    names = {spec.name for spec in tensor_specs(read_graph(headless.pop()).graph.input)}
    assert not any("qkv" in name for name in names)


def test_ranks_that_differ_are_networks_that_differ(
    tiny_checkpoint: Checkpoint, tiny_calibration: Calibration, tmp_path: Path
) -> None:
    files = set()
    for rank in (3, 5):
        bundle = export(tiny_checkpoint, [(1, 1)], tiny_calibration, tmp_path / f"{rank}", f"low-rank:{rank}")
        pruned = next(s for s in bundle.manifest.subgraphs if s.plan != bundle.architecture.dense)
        shapes = {spec.name: spec.shape for spec in tensor_specs(read_graph(network_path(bundle, pruned)).graph.input)}
        assert shapes["weights.blocks.0.fc2.left"] == (32, rank)
        files.add(bundle.network(pruned).file)
    assert len(files) == 2


class Attending(nn.Module):
    """Attention of two heads over 4 tokens, of inputs times a weight [size, size]."""

    def __init__(self, size: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(2 * size, dtype=dtype), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, 4, 2 * size] → like x."""
        q = (x @ self.weight).unflatten(-1, (2, -1)).transpose(1, 2)
        return nn.functional.scaled_dot_product_attention(q, q, q).transpose(1, 2).flatten(2)


def attending(size: int, dtype: torch.dtype) -> tuple[Piece, dict[str, Entry]]:
    piece = Piece(
        file="a.onnx",
        module=Attending(size, dtype),
        inputs=lambda rows: {"x": torch.linspace(-1, 1, rows * 8 * size).view(rows, 4, 2 * size).to(dtype)},
        outputs=("y",),
        prefixes={"weight": PrefixSpec(tensor="w")},
        topology=("attending", size, dtype),
    )
    return piece, {"w": Entry(dtype, (2 * size, 2 * size), 0, 0)}


@pytest.mark.parametrize(
    ("size", "dtype", "fused"),
    [
        (64, torch.bfloat16, True),
        (72, torch.float16, True),
        (64, torch.float32, False),
        (8, torch.float16, False),
        (512, torch.float16, False),
    ],
)
def test_attention_stays_one_operator_where_tensorrt_has_a_kernel_for_it(
    size: int, dtype: torch.dtype, fused: bool
) -> None:
    model = as_network(*attending(size, dtype))
    operators = {node.op_type for node in model.graph.node}
    assert ("Attention" in operators) == fused
    assert ("Softmax" in operators) == (not fused)


def test_attention_spelled_out_is_attention(tmp_path: Path) -> None:
    piece, entries = attending(64, torch.float32)
    path = tmp_path / "n.onnx"
    path.write_bytes(as_network(piece, entries).SerializeToString())
    inputs = piece.inputs(3)
    weights = dict(piece.module.named_parameters())
    (found,) = run_session(open_session(path, "cpu", 1), {**inputs, **weights})
    np.testing.assert_allclose(found, piece.module(inputs["x"]), atol=1e-6)


class Doubled(nn.Module):
    """Twice a condition, on the condition's weights."""

    def __init__(self, condition: nn.Module) -> None:
        super().__init__()
        self.weights = condition.get_submodule("weights")
        self.condition = (condition,)  # in a tuple, or its weights would be here twice

    def forward(self, timesteps: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        """Twice what the condition says."""
        return tuple(2 * output for output in self.condition[0](timesteps, labels))


def test_a_network_that_computes_something_else_never_becomes_a_bundle(
    tiny_checkpoint: Checkpoint, tmp_path: Path
) -> None:
    state = tiny_checkpoint.architecture.convert(tiny_checkpoint.denoiser_state())
    model = PrunedModel(tiny_checkpoint.architecture, state, None, "none")
    weights = Weights(model.dtype)
    piece = condition_piece(model, weights)
    write_blob(tmp_path / BLOB, weights.tensors, {})
    graphs, _ = write_graphs(tmp_path, [piece], verify=False, progress=lambda *_: None)

    wrong = dataclasses.replace(piece, module=Doubled(piece.module))
    with pytest.raises(BundleError, match=r"network-.*does not compute what torch computes"):
        write_networks(tmp_path, [wrong], graphs, verify=True, progress=lambda *_: None)


def test_operators_of_one_runtime_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    piece, entries = attending(64, torch.bfloat16)
    foreign = as_network(piece, entries)
    foreign.graph.node.append(onnx.helper.make_node("FastGelu", ["x"], ["g"], domain="com.microsoft"))
    monkeypatch.setattr("export.networks.own_graph", lambda _: foreign)
    with pytest.raises(BundleError, match=r"a\.onnx needs operators .*com\.microsoft\.FastGelu"):
        as_network(dataclasses.replace(piece, prefixes={}), entries)


def test_equal_networks_are_stored_once(tiny_bundle: Bundle) -> None:
    assert len(tiny_bundle.manifest.networks) == 2  # the denoisers' and the condition's
    entries, _ = read_header(tiny_bundle.folder / tiny_bundle.manifest.blob.file)
    assert set(entries) == set(tiny_bundle.blob)
