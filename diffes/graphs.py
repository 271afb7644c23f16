"""An ONNX graph beside the blob: which bytes of the blob its initializers are.

A runtime reads whatever range the file names, without asking whether a tensor lies there; so it is checked here.
"""

from collections.abc import Iterable, Iterator
from math import prod
from pathlib import Path

import onnx
import torch
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from diffes.blob import Blob
from diffes.errors import BundleError
from diffes.manifest import Graph, PrefixSpec, TensorSpec

_DTYPES: dict[int, torch.dtype] = {
    onnx.TensorProto.FLOAT: torch.float32,
    onnx.TensorProto.FLOAT16: torch.float16,
    onnx.TensorProto.BFLOAT16: torch.bfloat16,
}
INLINE_BYTES = 16384  # shapes, scalars, a row of ones; more than this is a weight that belongs in the blob


def read_graph(path: Path) -> onnx.ModelProto:
    """The graph without its weights; BundleError if the file is no ONNX model."""
    try:
        return onnx.load(path, load_external_data=False)
    except (OSError, DecodeError) as error:
        raise BundleError(f"cannot read {path}", expected="an ONNX model", found=str(error)) from error


def check_graph(path: Path, graph: Graph, blob: Blob) -> None:
    """BundleError unless every initializer is exactly the prefix of the blob that `graph.prefixes` says."""
    model = read_graph(path)
    external = {t.name: t for t in model.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL}
    if set(external) != set(graph.prefixes):
        raise BundleError(
            f"{path} reads other weights than the manifest says",
            expected=", ".join(sorted(set(graph.prefixes) - set(external))) or "no others",
            found=", ".join(sorted(set(external) - set(graph.prefixes))) or "none of them",
        )
    for name, tensor in external.items():
        _check_initializer(f"{path}: initializer {name}", tensor, graph.prefixes[name], blob)
    for tensor in inline_tensors(model):
        if tensor.ByteSize() > INLINE_BYTES:
            raise BundleError(
                f"{path} carries a weight of its own",
                expected=f"constants of at most {INLINE_BYTES} bytes",
                found=f"{tensor.name} of {tensor.ByteSize()}",
            )


def check_network(path: Path, graph: Graph, blob: Blob) -> None:
    """BundleError unless the network computes on the graph's inputs and, as further inputs, on its prefixes."""
    model = read_graph(path)
    found = {spec.name: spec for spec in tensor_specs(model.graph.input)}
    wanted = {spec.name: spec for spec in graph.inputs}
    if set(found) != set(wanted) | set(graph.prefixes) or tensor_specs(model.graph.output) != graph.outputs:
        raise BundleError(
            f"{path} is not {graph.file} with its weights as inputs",
            expected=", ".join(sorted({*wanted, *graph.prefixes} - set(found))) or "these inputs, the same outputs",
            found=", ".join(sorted(set(found) - set(wanted) - set(graph.prefixes))) or "others",
        )
    for name, prefix in graph.prefixes.items():
        entry = blob.entries[prefix.tensor]
        shape = entry.shape if prefix.rows is None else (prefix.rows, *entry.shape[1:])
        wanted[name] = TensorSpec(name=name, dtype=str(entry.dtype).removeprefix("torch."), shape=shape)
    for name, spec in found.items():
        if spec.dtype != wanted[name].dtype or not _fits(wanted[name].shape, spec.shape):
            raise BundleError(f"{path}: input {name} does not fit {graph.file}", expected=wanted[name], found=spec)


def _fits(shape: tuple[int | None, ...], declared: tuple[int | None, ...]) -> bool:
    """Whether a tensor may have this shape where a free axis (None) takes any size."""
    if len(shape) != len(declared):
        return False
    return all(free is None or size == free for size, free in zip(shape, declared, strict=True))


def tensor_specs(values: Iterable[onnx.ValueInfoProto]) -> tuple[TensorSpec, ...]:
    """A graph's inputs or outputs as the manifest says them."""
    return tuple(
        TensorSpec(
            name=value.name,
            dtype=onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name,
            shape=tuple(d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim),
        )
        for value in values
    )


def inline_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Tensors whose values lie inside the ONNX file: initializers and Constant nodes."""
    yield from (t for t in model.graph.initializer if t.data_location != onnx.TensorProto.EXTERNAL)
    for node in model.graph.node:
        yield from (attribute.t for attribute in node.attribute if attribute.type == onnx.AttributeProto.TENSOR)


def external_range(tensor: onnx.TensorProto) -> tuple[str, int, int]:
    """Location, offset and length in bytes of an external initializer."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    return entries.get("location", ""), int(entries.get("offset", 0)), int(entries.get("length", -1))


def _check_initializer(what: str, tensor: onnx.TensorProto, prefix: PrefixSpec, blob: Blob) -> None:
    if prefix.tensor not in blob:
        raise BundleError(f"{what} is of a tensor the blob lacks", expected=prefix.tensor, found=f"{len(blob)} others")
    entry = blob.entries[prefix.tensor]
    shape = entry.shape if prefix.rows is None else (prefix.rows, *entry.shape[1:])
    length = prod(shape) * entry.dtype.itemsize
    expected = (entry.dtype, shape, blob.path.name, entry.offset, length)
    found = (_DTYPES.get(tensor.data_type), tuple(tensor.dims), *external_range(tensor))
    if found != expected or length > entry.length:
        raise BundleError(
            f"{what} is not the prefix the manifest says",
            expected="dtype, shape, file, offset, length {}, {}, {}, {}, {}".format(*expected),
            found="{}, {}, {}, {}, {}".format(*found),
        )
