"""Operators in Python inside of a real ONNX Runtime session, on a CPU."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor

from diffes.backends.operators import abi
from diffes.backends.operators.abi import DOMAIN, Attributes, Library, Operator, Outputs, tensor_at
from diffes.errors import BackendError

CPU = torch.device("cpu")
TYPES = {torch.float32: TensorProto.FLOAT, torch.float16: TensorProto.FLOAT16}


def session(library: Library, dtype: torch.dtype = torch.float32, **attributes: Any) -> onnxruntime.InferenceSession:
    """A graph of one node, Scaled(x, y) → two outputs, and a Relu behind the first."""
    values = {name: helper.make_tensor_value_info(name, TYPES[dtype], ["rows", 3]) for name in ("x", "y", "first", "b")}
    nodes = [
        helper.make_node("Scaled", ["x", "y"], ["a", "b"], domain=DOMAIN, **attributes),
        helper.make_node("Relu", ["a"], ["first"]),
    ]
    graph = helper.make_graph(nodes, "graph", [values["x"], values["y"]], [values["first"], values["b"]])
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    library.register(options)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def scaled(inputs: Sequence[Tensor], attributes: Attributes, output: Outputs) -> None:
    x, y = inputs
    output(0, x.shape).copy_(x * attributes["factor"] + attributes["times"] * y)
    output(1, y.shape).copy_(-y)


def library(compute: abi.Compute = scaled, dtype: torch.dtype = torch.float32) -> Library:
    return Library([Operator("Scaled", 2, 2, compute, integers=("times",), floats=("factor",))], dtype, CPU)


def feed(dtype: torch.dtype = torch.float32) -> dict[str, np.ndarray]:
    return {
        name: torch.randn(4, 3, generator=torch.Generator().manual_seed(at)).to(dtype).numpy()
        for at, name in enumerate("xy")
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_node_is_calculated_in_python_between_nodes_of_onnx_runtime(dtype: torch.dtype) -> None:
    values = feed(dtype)
    first, second = session(library(dtype=dtype), dtype, factor=0.5, times=3).run(None, values)
    np.testing.assert_allclose(first, np.maximum(values["x"] * 0.5 + 3 * values["y"], 0), rtol=1e-2, atol=1e-3)
    np.testing.assert_array_equal(second, -values["y"])


def test_every_node_has_its_own_attributes_and_a_library_serves_several_sessions() -> None:
    shared = library()
    sessions = [session(shared, factor=factor, times=0) for factor in (1.0, 2.0)]
    values = {"x": np.ones((4, 3), np.float32), "y": np.ones((4, 3), np.float32)}
    assert [float(each.run(None, values)[0].max()) for each in (*sessions, *reversed(sessions))] == [1.0, 2.0, 2.0, 1.0]


def test_an_error_in_python_fails_the_run_and_says_why() -> None:
    def broken(_inputs: Sequence[Tensor], _attributes: Attributes, _output: Outputs) -> None:
        raise ValueError("seven is not a width")

    with pytest.raises(Exception, match="Scaled: seven is not a width"):
        session(library(broken), factor=1.0, times=1).run(None, feed())


def test_an_output_that_a_node_has_not_fails_the_run() -> None:
    def too_many(inputs: Sequence[Tensor], _attributes: Attributes, output: Outputs) -> None:
        output(7, inputs[0].shape)

    with pytest.raises(Exception, match="Scaled: an input or output that the node has not"):
        session(library(too_many), factor=1.0, times=1).run(None, feed())


def test_a_missing_attribute_is_refused_when_the_session_opens() -> None:
    with pytest.raises(Exception, match="times"):
        session(library(), factor=1.0)


def test_memory_is_shared_with_its_owner() -> None:
    owner = torch.arange(6, dtype=torch.bfloat16)
    seen = tensor_at(owner.data_ptr(), (2, 3), torch.bfloat16, CPU)
    seen[1, 2] = 40
    assert owner[5] == 40
    assert tensor_at(0, (0, 3), torch.float32, CPU).shape == (0, 3)


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    """Makes the entry library anew, in a cache of its own."""
    monkeypatch.setenv("DIFFES_CACHE", str(tmp_path))
    return abi._entry.__wrapped__


def test_the_entry_is_compiled_once(fresh: Callable[[], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    made = fresh()
    monkeypatch.setenv("PATH", "")
    assert fresh() == made


def test_no_compiler_is_an_error_that_says_what_to_do(
    fresh: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(BackendError, match="C compiler.*found none.*apt-get install gcc"):
        fresh()


def test_a_compiler_that_fails_leaves_nothing_behind(
    fresh: Callable[[], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CC", "/bin/false")
    with pytest.raises(BackendError, match="/bin/false"):
        fresh()
    assert not list((tmp_path / "operators").iterdir())
