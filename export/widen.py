"""A 16-bit graph in float32: the same operators on the same rounded weights, for a runtime that lacks the type.

No CPU runtime multiplies bfloat16 matrices of an ONNX graph, and what a graph does wrong, such as a wrong range of the
blob or a wrong order of axes, shows in float32 as well, where rounding does not hide it.
"""

from collections.abc import Mapping

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto

from diffes.blob import Blob
from diffes.graphs import inline_tensors
from diffes.manifest import PrefixSpec
from diffes.pruning.prefix import Prefix

_NARROW = (TensorProto.FLOAT16, TensorProto.BFLOAT16)


def widened(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the graph whose every 16-bit float is a float32; external weights are left without data."""
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    for tensor in (*inline_tensors(wide), *wide.graph.initializer):
        if tensor.data_type in _NARROW:
            _widen_tensor(tensor)
    for node in wide.graph.node:
        for attribute in node.attribute:
            if attribute.name in ("to", "dtype") and attribute.i in _NARROW:
                attribute.i = TensorProto.FLOAT
    for value in (*wide.graph.input, *wide.graph.output, *wide.graph.value_info):
        if value.type.tensor_type.elem_type in _NARROW:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    return wide


def widened_weights(prefixes: Mapping[str, PrefixSpec], blob: Blob) -> dict[str, NDArray[np.float32]]:
    """What the graph's initializers are, by name, as float32."""
    stored = {name: Prefix(prefix.tensor, prefix.rows).of(blob) for name, prefix in prefixes.items()}
    return {name: tensor.to(torch.float32).numpy() for name, tensor in stored.items()}


def _widen_tensor(tensor: TensorProto) -> None:
    if tensor.data_location == TensorProto.EXTERNAL:
        del tensor.external_data[:]
        tensor.external_data.add(key="location", value="given to the session")
        tensor.data_type = TensorProto.FLOAT
        return
    values = onnx.numpy_helper.to_array(tensor).astype(np.float32)
    name = tensor.name
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, name))
