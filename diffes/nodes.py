"""Nodes of an ONNX graph, for whoever rewrites one."""

from collections import Counter
from collections.abc import Iterable

import onnx

MICROSOFT = "com.microsoft"  # ONNX Runtime's contributed operators, built into every build of it


def keep_nodes(model: onnx.ModelProto, nodes: Iterable[onnx.NodeProto]) -> None:
    """Give the graph these nodes, which may be its own, in place of all it has."""
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(kept)


def drop_unused(model: onnx.ModelProto) -> None:
    """Remove nodes whose outputs nobody reads, last to first."""
    reads = Counter(name for node in model.graph.node for name in node.input)
    reads.update(output.name for output in model.graph.output)
    kept = []
    for node in reversed(model.graph.node):
        if any(reads[name] for name in node.output):
            kept.append(node)
        else:
            reads.subtract(node.input)
    keep_nodes(model, reversed(kept))


def import_domains(model: onnx.ModelProto, *domains: str) -> None:
    """Say which of these domains the graph's nodes are of, where it does not say so yet."""
    said = {opset.domain for opset in model.opset_import}
    used = {node.domain for node in model.graph.node}
    model.opset_import.extend(onnx.helper.make_opsetid(name, 1) for name in domains if name in used - said)
