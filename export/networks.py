"""Networks: graphs whose weights are inputs, in ONNX's own operators.

An ONNX graph beside the blob points at the bytes of one plan. A network names its weights as inputs instead, with the
axis free that levels cut: one network serves every plan of a topology, and TensorRT builds one engine of it, without
weights, that is handed prefixes of the one blob.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from math import inf
from pathlib import Path

import onnx
import onnx.shape_inference
from onnx import helper

from diffes.blob import Entry, read_header
from diffes.errors import BundleError
from diffes.manifest import Graph, Network
from diffes.nodes import keep_nodes
from export.pieces import Piece
from export.placement import ONNX_TYPES
from export.traces import own_graph
from export.verify import verify_network
from export.writer import BLOB, VERIFIED_ROWS, Progress

_HALF_PRECISION = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
# TensorRT takes Attention only where it has one kernel for it: TensorRT-RTX 1.7 did in 16 bits with heads of these
# sizes, and refused float32 and heads of 8, 264 and 512. Spelled out, it makes of it what it can.
_FUSED_HEADS = range(16, 257)


def write_networks(
    folder: Path, pieces: Sequence[Piece], graphs: Mapping[str, Graph], *, verify: bool, progress: Progress
) -> tuple[dict[str, Graph], tuple[Network, ...]]:
    """Write the networks of the pieces into `folder`, equal ones once.

    Returns the graphs, each with its network's name, and the networks. `verify` runs every piece's network on the
    piece's weights against torch; BundleError if they differ.
    """
    entries, _ = read_header(folder / BLOB)
    named: dict[str, Graph] = {}
    networks: dict[str, Network] = {}
    for done, piece in enumerate(pieces, 1):
        content = as_network(piece, entries).SerializeToString(deterministic=True)
        digest = sha256(content).hexdigest()
        network = Network(file=f"network-{digest[:8]}.onnx", sha256=digest)
        if network.file not in networks:
            (folder / network.file).write_bytes(content)
        networks[network.file] = network
        named[piece.file] = graphs[piece.file].model_copy(update={"network": network.file})
        if verify:
            verify_network(folder / network.file, piece.module, piece.inputs(VERIFIED_ROWS))
        progress("writing networks", done / len(pieces))
    return named, tuple(networks.values())


def as_network(piece: Piece, entries: Mapping[str, Entry]) -> onnx.ModelProto:
    """The piece's graph with its weights as inputs after its own; BundleError for an operator not of ONNX's own."""
    model = onnx.ModelProto()
    model.CopyFrom(own_graph(piece))
    for name, prefix in piece.prefixes.items():
        entry = entries[prefix.tensor]
        rows = entry.shape[:1] if prefix.rows is None else (prefix.rows,)
        axes = [piece.free[name]] if name in piece.free else list(rows)
        shape = [*axes, *entry.shape[1:]]
        model.graph.input.append(helper.make_tensor_value_info(name, ONNX_TYPES[entry.dtype], shape))
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in piece.prefixes]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    stored = {entries[prefix.tensor].dtype for prefix in piece.prefixes.values()}  # one: a piece's are of one type
    for dtype in stored:
        _spell_out_attention(model, ONNX_TYPES[dtype])
    _require_own_operators(model, piece.file)
    return model


def _spell_out_attention(model: onnx.ModelProto, dtype: int) -> None:
    """Replace each Attention that TensorRT has no kernel for by two multiplications around a softmax, in place.

    `dtype` is the weights': strongly typed, what they are the products are.
    """
    nodes: list[onnx.NodeProto] = []
    inferred = onnx.shape_inference.infer_shapes(model).graph.value_info
    types = {value.name: value.type.tensor_type.elem_type for value in inferred}
    for node in model.graph.node:
        if node.op_type != "Attention" or _is_fused(node, dtype):
            nodes.append(node)
        else:
            nodes.extend(_spelled_out(node, dtype, {types.get(name) for name in node.input[3:]}))
    keep_nodes(model, nodes)


def _is_fused(node: onnx.NodeProto, dtype: int) -> bool:
    head_size = round(_attribute(node, "scale") ** -2)  # export/rewrite.py writes the default scale into every node
    return dtype in _HALF_PRECISION and head_size in _FUSED_HEADS


def _spelled_out(node: onnx.NodeProto, dtype: int, masks: set[int | None]) -> list[onnx.NodeProto]:
    """q, k, v [B, H, S, d] → softmax(q kᵀ scale + what is added, if anything) v; like ONNX, q and k each take the
    scale's root. What is added may be truths, `masks` their type: where it is false nothing is looked at.

    Up to the shares in float32: the root is no number of 16 bits, and a softmax is none for them.
    """
    if len(node.input) > 4 or len(node.output) != 1 or _attribute(node, "is_causal") or _attribute(node, "softcap"):
        raise ValueError(f"{node.name} is no plain attention")
    (q, k, v, *added), at = node.input, node.output[0]
    value = helper.make_tensor(f"{at}_root", onnx.TensorProto.FLOAT, [], [_attribute(node, "scale") ** 0.5])
    is_wide = dtype == onnx.TensorProto.FLOAT
    wide = (
        [] if is_wide else [_cast(given, f"{at}_wide_{n}", onnx.TensorProto.FLOAT) for given, n in ((q, "q"), (k, "k"))]
    )
    narrow = [_cast(f"{at}_shares", f"{at}_narrow", dtype)]
    if masks == {onnx.TensorProto.BOOL}:
        wide += _barred(added[0], f"{at}_barred")
        added = [f"{at}_barred"]
    elif added and not is_wide:
        wide.append(_cast(added[0], f"{at}_wide_added", onnx.TensorProto.FLOAT))
        added = [f"{at}_wide_added"]
    sums = [helper.make_node("Add", [f"{at}_scores", name], [f"{at}_sums"]) for name in added]
    q, k, shares = (q, k, f"{at}_shares") if is_wide else (f"{at}_wide_q", f"{at}_wide_k", f"{at}_narrow")
    return [
        helper.make_node("Constant", [], [f"{at}_root"], value=value),
        *wide,
        helper.make_node("Mul", [q, f"{at}_root"], [f"{at}_q"]),
        helper.make_node("Mul", [k, f"{at}_root"], [f"{at}_k"]),
        helper.make_node("Transpose", [f"{at}_k"], [f"{at}_kt"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", [f"{at}_q", f"{at}_kt"], [f"{at}_scores"]),
        *sums,
        helper.make_node("Softmax", [f"{at}_sums" if sums else f"{at}_scores"], [f"{at}_shares"], axis=-1),
        *([] if is_wide else narrow),
        helper.make_node("MatMul", [shares, v], [at]),
    ]


def _barred(mask: str, made: str) -> list[onnx.NodeProto]:
    """0 where a mask is true, and else what leaves no share."""
    values = {f"{made}_open": 0.0, f"{made}_shut": -inf}
    constants = [
        helper.make_node("Constant", [], [name], value=helper.make_tensor(name, onnx.TensorProto.FLOAT, [], [value]))
        for name, value in values.items()
    ]
    return [*constants, helper.make_node("Where", [mask, *values], [made])]


def _cast(source: str, made: str, dtype: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [made], to=dtype)


def _attribute(node: onnx.NodeProto, name: str) -> float:
    """A number among the node's attributes; 0 if it is not there, ONNX's default for those asked for here."""
    return next((float(helper.get_attribute_value(a)) for a in node.attribute if a.name == name), 0.0)


def _require_own_operators(model: onnx.ModelProto, file: str) -> None:
    foreign = sorted({f"{node.domain}.{node.op_type}" for node in model.graph.node if node.domain})
    if foreign:
        raise BundleError(f"the network of {file} needs operators that are not ONNX's own", found=", ".join(foreign))
