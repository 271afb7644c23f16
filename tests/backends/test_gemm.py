from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from diffes.backends.gemm import with_biases_apart
from diffes.errors import BackendError


def model(**attributes: Any) -> onnx.ModelProto:
    shapes = {"x": [4, 3], "weight": [5, 3] if attributes.get("transB") else [3, 5], "bias": [5]}
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 5])
    node = helper.make_node("Gemm", ["x", "weight", "bias"], ["y"], **attributes)
    graph = helper.make_graph([node], "gemm", inputs, [output])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(graph: onnx.ModelProto) -> Any:
    random = np.random.default_rng(0)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    shapes = {each.name: [size.dim_value for size in each.type.tensor_type.shape.dim] for each in graph.graph.input}
    return session.run(None, {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()})[0]


@pytest.mark.parametrize("turned", [0, 1])
def test_a_product_and_an_add_are_the_gemm_they_replace(turned: int) -> None:
    before = run(model(transB=turned))
    apart = with_biases_apart(model(transB=turned))
    assert [node.op_type for node in apart.graph.node] == ["FusedMatMul", "Add"]
    np.testing.assert_allclose(run(apart), before, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("more", [{"alpha": 2.0}, {"beta": 0.5}, {"transA": 1}])
def test_a_gemm_that_does_more_is_refused(more: dict[str, float]) -> None:
    with pytest.raises(BackendError, match="more than a product and a bias"):
        with_biases_apart(model(**more))
