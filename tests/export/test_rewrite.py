"""Rewrites keep the function."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.rewrite import merge_equal_nodes, say_attention_scales, split_into_tensors, use_stored_layouts

W = np.arange(12, dtype=np.float32).reshape(3, 4)
X = np.linspace(-1, 1, 2 * 5 * 4, dtype=np.float32).reshape(2, 5, 4)


def model_of(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 5, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(list(nodes), "g", [x], [y], [numpy_helper.from_array(W, "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(model: onnx.ModelProto) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    output: np.ndarray = session.run(None, {"x": X})[0]
    return output


def transposed_product() -> onnx.ModelProto:
    return model_of(
        helper.make_node("Transpose", ["w"], ["wt"], perm=[1, 0]), helper.make_node("MatMul", ["x", "wt"], ["y"])
    )


def test_a_transposed_weight_is_multiplied_where_it_lies() -> None:
    model = transposed_product()
    use_stored_layouts(model)
    assert [node.op_type for node in model.graph.node] == ["FusedMatMul"]
    assert list(model.graph.node[0].input) == ["x", "w"]
    np.testing.assert_allclose(run(model), X @ W.T, rtol=1e-6)


def test_a_transpose_that_others_read_too_stays_for_them() -> None:
    model = transposed_product()
    model.graph.node.append(helper.make_node("ReduceSum", ["wt"], ["sum"], keepdims=0))
    model.graph.node[1].output[0] = "product"
    model.graph.node.append(helper.make_node("Add", ["product", "sum"], ["y"]))
    use_stored_layouts(model)
    assert [node.op_type for node in model.graph.node] == ["Transpose", "FusedMatMul", "ReduceSum", "Add"]
    np.testing.assert_allclose(run(model), X @ W.T + W.sum(), rtol=1e-6)


def test_a_sequence_of_parts_becomes_one_split() -> None:
    sizes = helper.make_node("Constant", [], ["one"], value_int=1)
    split = helper.make_node("SplitToSequence", ["x", "one"], ["parts"], axis=1, keepdims=1)
    places = [helper.make_node("Constant", [], [f"i{i}"], value_int=i) for i in range(5)]
    # read in another order than they lie
    reads = [helper.make_node("SequenceAt", ["parts", f"i{i}"], [f"p{i}"]) for i in (3, 0, 4, 1, 2)]
    joined = helper.make_node("Concat", [f"p{i}" for i in range(5)], ["y"], axis=1)
    model = model_of(sizes, split, *places, *reads, joined)
    split_into_tensors(model)
    assert [node.op_type for node in model.graph.node] == ["Split", "Concat"]
    np.testing.assert_array_equal(run(model), X)


def test_parts_that_nobody_reads_are_still_split_off() -> None:
    size = helper.make_node("Constant", [], ["one"], value_int=1)
    split = helper.make_node("SplitToSequence", ["x", "one"], ["parts"], axis=1, keepdims=1)
    place = helper.make_node("Constant", [], ["i"], value_int=2)
    model = model_of(size, split, place, helper.make_node("SequenceAt", ["parts", "i"], ["y"]))
    split_into_tensors(model)
    np.testing.assert_array_equal(run(model), X[:, 2:3])


def test_equal_nodes_are_computed_once() -> None:
    nodes = [helper.make_node("Sin", ["x"], [f"s{i}"], name=f"n{i}") for i in range(3)]
    nodes += [helper.make_node("Add", ["s0", "s1"], ["a"]), helper.make_node("Mul", ["a", "s2"], ["y"])]
    model = model_of(*nodes)
    merge_equal_nodes(model)
    assert [node.op_type for node in model.graph.node] == ["Sin", "Add", "Mul"]
    np.testing.assert_allclose(run(model), 2 * np.sin(X) ** 2, rtol=1e-5)


def test_nodes_that_differ_in_an_attribute_or_input_are_kept() -> None:
    nodes = [
        helper.make_node("Elu", ["x"], ["a"], alpha=1.0),
        helper.make_node("Elu", ["x"], ["b"], alpha=2.0),
        helper.make_node("Elu", ["b"], ["c"], alpha=2.0),
        helper.make_node("Sum", ["a", "b", "c"], ["y"]),
    ]
    model = model_of(*nodes)
    expected = run(model)
    merge_equal_nodes(model)
    assert len(model.graph.node) == 4
    np.testing.assert_array_equal(run(model), expected)


def test_an_output_that_would_vanish_is_refused() -> None:
    model = model_of(helper.make_node("Sin", ["x"], ["a"]), helper.make_node("Sin", ["x"], ["y"]))
    with pytest.raises(ValueError, match="output y"):
        merge_equal_nodes(model)


def test_attention_says_the_scale_it_had_by_default() -> None:
    shape = [2, 5, 3, 4]
    model = model_of(
        helper.make_node("Attention", ["q", "q", "q"], ["a"]),
        helper.make_node("Attention", ["q", "q", "q"], ["b"], scale=2.0),
    )
    model.graph.value_info.append(helper.make_tensor_value_info("q", TensorProto.FLOAT, shape))
    say_attention_scales(model)
    scales = [{a.name: a.f for a in node.attribute}["scale"] for node in model.graph.node]
    assert scales == [0.5, 2.0]
