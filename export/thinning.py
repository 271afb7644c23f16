"""The graph of a plan that skips layers, out of the graph in which every layer is there.

A layer adds a product to an offset: its bias, or what low-rank factors add to that by a product more. So a graph in
which a plan's weights are absent is the graph without the products of these, and without what is calculated for them
alone. A trace takes minutes for a large model, and every stage of a schedule may skip other layers.
"""

from collections.abc import Collection

import onnx

from diffes.nodes import drop_unused, keep_nodes


def thinned(whole: onnx.ModelProto, absent: Collection[str]) -> onnx.ModelProto:
    """A copy without the weights `absent`: a Gemm by one of them is what it is added to.

    That may be a vector, the same for all rows; then nothing that gives the product another shape is left either.
    ValueError if anything else reads what is absent.
    """
    model = onnx.ModelProto()
    model.CopyFrom(whole)
    replaced: dict[str, str] = {}
    vectors: set[str] = set()
    weights = {tensor.name for tensor in model.graph.initializer}
    kept = []
    for node in model.graph.node:
        node.input[:] = [replaced.get(name, name) for name in node.input]
        if node.op_type == "Gemm" and node.input[1] in absent and len(node.input) > 2:
            offset = node.input[2]
            replaced[node.output[0]] = offset
            if offset in weights:
                vectors.add(offset)
        elif node.op_type == "Reshape" and node.input[0] in vectors:
            replaced[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    keep_nodes(model, kept)
    drop_unused(model)
    _keep_initializers(model, absent)
    return model


def _keep_initializers(model: onnx.ModelProto, absent: Collection[str]) -> None:
    """Those that are read; ValueError if an absent one is."""
    read = {name for node in model.graph.node for name in node.input}
    if left := sorted(read.intersection(absent)):
        raise ValueError(f"{left[0]} is read by more than the product it belongs to")
    initializers = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(initializers)
