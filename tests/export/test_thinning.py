"""Graphs of plans that skip layers come out of one graph in which every layer is there."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from diffes.blob import write_blob
from diffes.checkpoint import Checkpoint
from diffes.latency.stand import Subject, UnorderedModel
from diffes.schedule import BlockPlan
from export import traces, writer
from export.pieces import denoiser_piece
from export.thinning import thinned
from export.trace import trace
from export.weights import Weights

ROWS = np.arange(12, dtype=np.float32).reshape(3, 4)


def two_branches() -> onnx.ModelProto:
    """x [n, 4] + (x @ w + c) in another shape, where c is a vector b or what x @ left @ right adds to it."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in "xy")
    values = {
        "w": np.eye(4, dtype=np.float32),
        "b": np.arange(4, dtype=np.float32),
        "left": np.ones((4, 2), np.float32),
        "right": np.ones((2, 4), np.float32),
        "shape": np.array([-1, 1, 4]),
        "flat": np.array([-1, 4]),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "left"], ["low"]),
        helper.make_node("Gemm", ["low", "right", "b"], ["offset"]),
        helper.make_node("Gemm", ["x", "w", "offset"], ["product"]),
        helper.make_node("Reshape", ["product", "shape"], ["branch"]),
        helper.make_node("Reshape", ["x", "shape"], ["tokens"]),
        helper.make_node("Add", ["tokens", "branch"], ["sum"]),
        helper.make_node("Reshape", ["sum", "flat"], ["y"]),
    ]
    weights = [numpy_helper.from_array(value, name) for name, value in values.items()]
    opset = [helper.make_opsetid("", 18)]
    return helper.make_model(helper.make_graph(nodes, "g", [x], [y], weights), opset_imports=opset, ir_version=10)


@pytest.mark.parametrize(
    ("absent", "expected"),
    [
        ([], ROWS + ROWS + np.arange(4) + ROWS.sum(1, keepdims=True) * 2),
        (["w"], ROWS + np.arange(4) + ROWS.sum(1, keepdims=True) * 2),
        (["left", "right"], ROWS + ROWS + np.arange(4)),
        (["w", "left", "right"], ROWS + np.arange(4)),
    ],
)
def test_a_product_by_an_absent_weight_is_what_it_is_added_to(absent: list[str], expected: np.ndarray) -> None:
    whole = two_branches()
    before = whole.SerializeToString()
    model = thinned(whole, absent)
    assert whole.SerializeToString() == before
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"x": ROWS})[0], expected)
    assert not {tensor.name for tensor in model.graph.initializer}.intersection(absent)


def test_what_is_calculated_for_an_absent_weight_alone_is_gone() -> None:
    assert [node.op_type for node in thinned(two_branches(), ["w", "left", "right"]).graph.node] == [
        "Reshape",
        "Add",
        "Reshape",
    ]


def test_a_weight_that_something_else_reads_cannot_be_absent() -> None:
    with pytest.raises(ValueError, match="left is read by more than"):
        thinned(two_branches(), ["left"])


def test_plans_that_skip_different_layers_are_traced_once(
    tiny_checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    architecture = tiny_checkpoint.architecture
    subject = Subject(tiny_checkpoint.identity, architecture, tiny_checkpoint.weights())
    model = UnorderedModel(subject, "cpu", torch.float32)
    (heads, channels), *others = architecture.dense
    plans = [(BlockPlan(*first), *others) for first in ((heads, channels), (0, channels), (heads, 0), (0, 0))]
    weights = Weights(model.dtype)
    pieces = [denoiser_piece(model, plan, weights) for plan in plans]
    write_blob(tmp_path / writer.BLOB, weights.tensors, {})

    traced = []

    def counted(*args: Any, **kwargs: Any) -> onnx.ModelProto:
        traced.append(args)
        return trace(*args, **kwargs)

    monkeypatch.setenv("DIFFES_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(traces, "_known", {})
    monkeypatch.setattr(traces, "trace", counted)
    graphs, error = writer.write_graphs(tmp_path, pieces, verify=True, progress=lambda *_: None)
    assert len(graphs) == len(plans)
    assert error is not None
    assert len(traced) == 1
