"""Point a graph's initializers into the blob, and prove that nothing stands between a weight and its use.

A runtime folds an operator on a constant when it loads a graph: into a private copy of the weight at best. So a
weight may only be read by operators that compute with it.
"""

from collections.abc import Mapping
from math import prod

import onnx
import torch

from diffes.blob import Entry
from diffes.errors import BundleError
from diffes.graphs import INLINE_BYTES, inline_tensors
from diffes.manifest import PrefixSpec
from export.contrib import HEAD_DIM

_DIRECT = frozenset(
    {
        "Gemm",
        "MatMul",
        "FusedMatMul",
        "FastGelu",
        "Conv",
        "Gather",
        "Add",
        "Mul",
        "GroupNormalization",
        "InstanceNormalization",
        "LayerNormalization",
    }
)
ONNX_TYPES = {
    torch.float32: onnx.TensorProto.FLOAT,
    torch.float16: onnx.TensorProto.FLOAT16,
    torch.bfloat16: onnx.TensorProto.BFLOAT16,
}


def place(
    template: onnx.ModelProto, prefixes: Mapping[str, PrefixSpec], entries: Mapping[str, Entry], location: str
) -> onnx.ModelProto:
    """A copy of the graph whose initializers are the given prefixes of the blob at `location`.

    The template's own weights are dropped; sizes follow the prefixes, so one traced graph serves every plan that
    skips the same halves. BundleError if the graph reads weights that `prefixes` lacks, or not directly.
    """
    model = onnx.ModelProto()
    model.CopyFrom(template)
    weights = [tensor for tensor in model.graph.initializer if tensor.name in prefixes]
    if len(weights) != len(prefixes):
        missing = set(prefixes) - {tensor.name for tensor in weights}
        raise BundleError("the traced graph lost weights", expected=", ".join(sorted(missing)), found="none of them")
    for tensor in weights:
        prefix = prefixes[tensor.name]
        _point(tensor, entries[prefix.tensor], prefix.rows, location)
    _count_heads(model)
    check_direct(model, prefixes)
    return model


def check_direct(model: onnx.ModelProto, weights: Mapping[str, object]) -> None:
    """BundleError unless every weight is read by computing operators only and no other large constant is left."""
    for node in model.graph.node:
        for name in node.input:
            if name in weights and node.op_type not in _DIRECT:
                raise BundleError(
                    f"{node.op_type} stands between weight {name} and its use",
                    expected=f"one of {', '.join(sorted(_DIRECT))}",
                    found=node.op_type,
                    remedy="Store the weight in the layout it is multiplied in.",
                )
    for tensor in inline_tensors(model):
        if tensor.ByteSize() > INLINE_BYTES:
            raise BundleError(
                "a weight is left inside the graph", expected="every weight in the blob", found=tensor.name
            )


def _count_heads(model: onnx.ModelProto) -> None:
    """Tell every attention how many heads its weights leave it: it cannot see that from its inputs."""
    made_by = {output: node for node in model.graph.node for output in node.output}
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    for node in model.graph.node:
        for note in node.metadata_props:
            if note.key == HEAD_DIM:
                source = node
                while source.op_type != "Gemm":
                    source = made_by[source.input[0]]
                heads = shapes[source.input[1]][0] // (3 * int(note.value))
                next(a for a in node.attribute if a.name == "num_heads").i = heads
        del node.metadata_props[:]


def _point(tensor: onnx.TensorProto, entry: Entry, rows: int | None, location: str) -> None:
    shape = entry.shape if rows is None else (rows, *entry.shape[1:])
    _drop_values(tensor)
    tensor.data_type = ONNX_TYPES[entry.dtype]
    tensor.dims[:] = shape
    tensor.data_location = onnx.TensorProto.EXTERNAL
    length = prod(shape) * entry.dtype.itemsize
    for key, value in (("location", location), ("offset", entry.offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))


def _drop_values(tensor: onnx.TensorProto) -> None:
    for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
        tensor.ClearField(field)
    del tensor.external_data[:]
