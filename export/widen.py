"""A 16-bit graph in float32: the same operators on the same rounded weights, for a runtime that lacks the type.

No CPU runtime multiplies bfloat16 matrices of an ONNX graph, and what a graph does wrong, such as a wrong range of the
blob or a wrong order of axes, shows in float32 as well, where rounding does not hide it. Weights are widened one by
one where they are read: a large model's would not fit beside it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from diffes.graphs import inline_tensors
from diffes.nodes import keep_nodes

NARROW = (torch.float16, torch.bfloat16)
_SMALL = 1 << 16  # numbers; biases and norms take little at once
_NARROW = (TensorProto.FLOAT16, TensorProto.BFLOAT16)


def widened(model: onnx.ModelProto, weights: Mapping[str, Tensor]) -> onnx.ModelProto:
    """A copy of the graph whose every 16-bit float is a float32, but `weights`: inputs, cast when they are read.

    A large one's cast waits until the one before it was read: a runtime that may choose would cast all of them first.
    """
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    _take_as_inputs(wide, weights)
    for tensor in inline_tensors(wide):
        if tensor.data_type in _NARROW:
            _widen_tensor(tensor)
    for node in wide.graph.node:
        for attribute in node.attribute:
            if attribute.name in ("to", "dtype") and attribute.i in _NARROW:
                attribute.i = TensorProto.FLOAT
    for value in (*wide.graph.input, *wide.graph.output, *wide.graph.value_info):
        if value.name not in weights and value.type.tensor_type.elem_type in _NARROW:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    keep_nodes(wide, _with_casts(wide, weights))
    return wide


class Widened(TorchFunctionMode):
    """Within it, every operation takes 16-bit floats as float32, a module's weights among them."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """The operation on what it was given, widened."""
        args, kwargs = tree_map(_wide, (args, kwargs or {}))
        return func(*args, **kwargs)


def _wide(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in NARROW else value


def _take_as_inputs(model: onnx.ModelProto, weights: Mapping[str, Tensor]) -> None:
    """Weights that are initializers become inputs, as those of networks are: a session would copy them."""
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in weights]
    for tensor in model.graph.initializer:
        if tensor.name in weights:
            model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def _with_casts(model: onnx.ModelProto, weights: Mapping[str, Tensor]) -> Iterator[onnx.NodeProto]:
    cast: dict[str, str] = {}
    large = {name for name, weight in weights.items() if weight.numel() > _SMALL}
    before: str | None = None  # what the last that calculated with a large weight made
    for node in model.graph.node:
        reads = not large.isdisjoint(node.input)
        for name in dict.fromkeys(node.input):
            if name in weights and name not in cast:
                cast[name] = f"{name}.wide"
                yield from _cast(name, weights[name], before if name in large else None)
        node.input[:] = [cast.get(name, name) for name in node.input]
        yield node
        if reads and node.op_type == "Transpose":
            large.add(node.output[0])  # the same weight
        elif reads:
            before = node.output[0]


def _cast(name: str, weight: Tensor, before: str | None) -> Iterator[onnx.NodeProto]:
    """The weight as `name`.wide, not until `before` is made: it is given its own shape plus nothing of that one's."""
    narrow = name
    if before is not None:
        narrow, shape = f"{name}.late", numpy_helper.from_array(np.array(weight.shape, np.int64))
        yield helper.make_node("Constant", [], [f"{name}.shape"], value=shape)
        yield helper.make_node("Shape", [before], [f"{name}.rows"], start=0, end=1)
        yield helper.make_node("Sub", [f"{name}.rows"] * 2, [f"{name}.zero"])
        yield helper.make_node("Add", [f"{name}.shape", f"{name}.zero"], [f"{name}.same"])
        yield helper.make_node("Reshape", [name, f"{name}.same"], [narrow])
    yield helper.make_node("Cast", [narrow], [f"{name}.wide"], to=TensorProto.FLOAT)


def _widen_tensor(tensor: TensorProto) -> None:
    values = numpy_helper.to_array(tensor).astype(np.float32)
    name = tensor.name
    tensor.CopyFrom(numpy_helper.from_array(values, name))
