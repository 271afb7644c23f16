"""Weights are read where they lie, by operators that compute with them."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from diffes.blob import Entry
from diffes.errors import BundleError
from diffes.graphs import external_range
from diffes.manifest import PrefixSpec
from export.placement import place


def graph_of(*nodes: onnx.NodeProto, size: int = 4) -> onnx.ModelProto:
    """A graph x [n, 4] → y with the weight w [size, 4]."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    w = numpy_helper.from_array(np.zeros((size, 4), np.float32), "w")
    return helper.make_model(helper.make_graph(list(nodes), "g", [x], [y], [w]))


ENTRIES = {"stored": Entry(torch.float32, (4, 4), offset=512, length=64)}
GEMM = helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)


def test_an_initializer_becomes_the_prefix_it_is_of_the_blob() -> None:
    model = place(graph_of(GEMM), {"w": PrefixSpec(tensor="stored", rows=3)}, ENTRIES, "blob.safetensors")
    (tensor,) = model.graph.initializer
    assert list(tensor.dims) == [3, 4]
    assert external_range(tensor) == ("blob.safetensors", 512, 3 * 4 * 4)
    assert not tensor.raw_data


def test_the_template_stays_as_it_was() -> None:
    template = graph_of(GEMM)
    before = template.SerializeToString()
    place(template, {"w": PrefixSpec(tensor="stored", rows=3)}, ENTRIES, "blob.safetensors")
    assert template.SerializeToString() == before


@pytest.mark.parametrize("between", ["Transpose", "Cast", "Identity"])
def test_an_operator_between_a_weight_and_its_use_is_refused(between: str) -> None:
    first = helper.make_node(between, ["w"], ["v"])
    template = graph_of(first, helper.make_node("MatMul", ["x", "v"], ["y"]))
    with pytest.raises(BundleError, match=f"{between} stands between weight w and its use"):
        place(template, {"w": PrefixSpec(tensor="stored")}, ENTRIES, "blob.safetensors")


def test_a_weight_that_the_graph_lost_is_refused() -> None:
    prefixes = {"w": PrefixSpec(tensor="stored"), "bias": PrefixSpec(tensor="stored")}
    with pytest.raises(BundleError, match="lost weights: expected bias"):
        place(graph_of(GEMM), prefixes, ENTRIES, "blob.safetensors")


def test_a_weight_left_inside_the_graph_is_refused() -> None:
    with pytest.raises(BundleError, match="left inside the graph.*found w"):
        place(graph_of(GEMM, size=2048), {}, ENTRIES, "blob.safetensors")
