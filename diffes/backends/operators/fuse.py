"""Puts the operators into a bundle's graph when it is opened for a GPU; the file keeps ONNX Runtime's own.

Patterns are those that export/contrib.py leaves. What does not fit one, a skipped half, stays as it is.
"""

from collections import Counter

import onnx
from onnx import helper

from diffes.backends.operators.abi import DOMAIN

_MICROSOFT = "com.microsoft"
Node = onnx.NodeProto


def fuse(model: onnx.ModelProto, *, attention: bool = True) -> onnx.ModelProto:
    """GatedNorm for product, bias, gate, sum and norm; SelfAttention for bias, split and attention; in place.

    Without `attention` that stays as it is: our kernel on a GPU is for 16 bits.
    """
    made = {node.output[0]: node for node in model.graph.node}
    nodes: list[Node] = []
    for node in model.graph.node:
        if node.op_type == "LayerNormalization" and (gated := _gated_norm(node, made)):
            nodes = [each for each in nodes if each.output[0] != node.input[0]]  # the sum, which the operator returns
            nodes += gated
        elif attention and node.op_type == "Reshape" and (mixed := _self_attention(node, made)):
            nodes += mixed
        else:
            nodes.append(node)
    _keep(model, nodes)
    imported = {opset.domain for opset in model.opset_import}
    used = {node.domain for node in nodes}
    model.opset_import.extend(helper.make_opsetid(name, 1) for name in (DOMAIN, _MICROSOFT) if name in used - imported)
    return model


def is_fused(model: onnx.ModelProto) -> bool:
    """Whether a graph needs the operators."""
    return any(opset.domain == DOMAIN for opset in model.opset_import)


def _gated_norm(norm: Node, made: dict[str, Node]) -> list[Node]:
    """x + gate * (inputs @ weight + offset), and its norm; nothing if this is another norm."""
    total = made.get(norm.input[0])
    if total is None or total.op_type != "Add":
        return []
    x, gated = total.input[0], made.get(total.input[1])
    if gated is None or gated.op_type != "Mul":
        return []
    gate, branch = gated.input[0], made.get(gated.input[1])
    if branch is None or branch.op_type != "Reshape":
        return []
    product = made.get(branch.input[0])
    if product is None or product.op_type != "Gemm":
        return []
    _, scale, shift = norm.input
    operands = [x, gate, _apart(product.output[0]), product.input[2], scale, shift]
    epsilon = next(attribute.f for attribute in norm.attribute if attribute.name == "epsilon")
    outputs = [norm.input[0], norm.output[0]]
    return [_product(product), helper.make_node("GatedNorm", operands, outputs, domain=DOMAIN, epsilon=epsilon)]


def _self_attention(rows: Node, made: dict[str, Node]) -> list[Node]:
    """Attention of the parts of inputs @ weight + bias, as rows; nothing if this reshapes something else."""
    attention = made.get(rows.input[0])
    if attention is None or attention.op_type != "MultiHeadAttention":
        return []
    node = attention
    while node.op_type != "Gemm":
        node = made.get(node.input[0]) or _splitter(node.input[0], made)
    entry = made[node.input[0]]  # [B, tokens, D] as rows
    operands = [_apart(node.output[0]), node.input[2], entry.input[0]]
    heads = next(attribute.i for attribute in attention.attribute if attribute.name == "num_heads")
    outputs = [rows.output[0]]
    return [_product(node), helper.make_node("SelfAttention", operands, outputs, domain=DOMAIN, num_heads=heads)]


def _splitter(output: str, made: dict[str, Node]) -> Node:
    return next(node for node in made.values() if output in node.output)


def _product(gemm: Node) -> Node:
    turned = next((attribute.i for attribute in gemm.attribute if attribute.name == "transB"), 0)
    inputs, outputs = gemm.input[:2], [_apart(gemm.output[0])]
    return helper.make_node("FusedMatMul", inputs, outputs, domain=_MICROSOFT, transB=turned)


def _apart(name: str) -> str:
    return f"{name} before its bias"


def _keep(model: onnx.ModelProto, nodes: list[Node]) -> None:
    """These nodes, without those whose outputs nobody reads."""
    reads = Counter(name for node in nodes for name in node.input)
    reads.update(output.name for output in model.graph.output)
    kept = []
    for node in reversed(nodes):
        if any(reads[name] for name in node.output):
            kept.append(Node.FromString(node.SerializeToString()))
        else:
            reads.subtract(node.input)
    del model.graph.node[:]
    model.graph.node.extend(reversed(kept))
