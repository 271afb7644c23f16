"""A 16-bit graph in float32, its weights widened one after another."""

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper
from torch import nn

from export.widen import Widened, widened

SIDE = 300  # so that a matrix counts as large
NAMES = ("a", "b", "c")


def chain() -> onnx.ModelProto:
    """x [n, SIDE] through three bfloat16 matrices, the second of them turned, plus a small vector."""
    kind = TensorProto.BFLOAT16
    x, y = (helper.make_tensor_value_info(name, kind, ["n", SIDE]) for name in "xy")
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["xa"]),
        helper.make_node("Transpose", ["b"], ["turned"], perm=[1, 0]),
        helper.make_node("MatMul", ["xa", "turned"], ["xb"]),
        helper.make_node("MatMul", ["xb", "c"], ["xc"]),
        helper.make_node("Add", ["xc", "small"], ["y"]),
    ]
    weights = [
        TensorProto(name=name, data_type=kind, dims=shape)
        for name, shape in ((*((name, (SIDE, SIDE)) for name in NAMES), ("small", (SIDE,))))
    ]
    graph = helper.make_graph(nodes, "g", [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def weights() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    drawn = {name: torch.randn(SIDE, SIDE, generator=generator) / SIDE**0.5 for name in NAMES}
    return {name: value.to(torch.bfloat16) for name, value in {**drawn, "small": torch.ones(SIDE)}.items()}


def needed(model: onnx.ModelProto, name: str) -> set[str]:
    """Everything that must be calculated before `name` is."""
    made = {output: node for node in model.graph.node for output in node.output}
    found: set[str] = set()
    left = [name]
    while left:
        node = made.get(left.pop())
        if node is not None:
            left += set(node.input) - found
            found |= set(node.input)
    return found


def test_a_large_weight_is_not_cast_until_the_one_before_it_was_multiplied_by() -> None:
    wide = widened(chain(), weights())
    assert "xa" not in needed(wide, "a.wide")
    assert "xa" in needed(wide, "b.wide")
    assert "xb" in needed(wide, "c.wide")
    assert needed(wide, "small.wide") == {"small"}


def test_a_widened_graph_computes_in_float32_on_the_rounded_weights() -> None:
    stored = weights()
    wide = widened(chain(), stored)
    assert not wide.graph.initializer
    session = onnxruntime.InferenceSession(wide.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.linspace(-1, 1, 2 * SIDE, dtype=np.float32).reshape(2, SIDE)
    values = {
        name: onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(
            value.view(torch.int16).numpy(), TensorProto.BFLOAT16
        )
        for name, value in stored.items()
    }
    (found,) = session.run_with_ort_values(None, {"x": onnxruntime.OrtValue.ortvalue_from_numpy(x), **values})
    a, b, c, small = (stored[name].float() for name in (*NAMES, "small"))
    np.testing.assert_allclose(found.numpy(), torch.from_numpy(x) @ a @ b.t() @ c + small, rtol=1e-4, atol=1e-5)


def test_the_given_graph_stays_as_it_was() -> None:
    model = chain()
    before = model.SerializeToString()
    widened(model, weights())
    assert model.SerializeToString() == before


def test_a_module_of_16_bits_computes_as_its_copy_in_float32_would() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.GELU(), nn.Linear(16, 8)).to(torch.bfloat16)
    x = torch.randn(4, 8)
    with torch.inference_mode():
        with Widened():
            found = module(x)
        assert found.dtype == torch.float32
        assert torch.equal(found, module.float()(x))
