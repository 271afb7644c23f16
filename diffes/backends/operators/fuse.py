"""Puts the operators into a bundle's graph when it is opened for a GPU; the file keeps ONNX Runtime's own.

Patterns are those that export/contrib.py leaves. What does not fit one, a skipped half, stays as it is.
"""

import onnx
from onnx import helper

from diffes.backends.operators.abi import DOMAIN
from diffes.nodes import MICROSOFT, drop_unused, import_domains, keep_nodes

Node = onnx.NodeProto


def fuse(model: onnx.ModelProto, *, attention: bool = True) -> onnx.ModelProto:
    """GatedNorm for product, bias, gate, sum and norm; SelfAttention for bias, split and attention; in place.

    Without `attention` that stays as it is: our kernel on a GPU is for 16 bits.
    """
    made = {name: node for node in model.graph.node for name in node.output}
    nodes: dict[str, Node] = {}  # by first output, in order
    for node in model.graph.node:
        replacements = [node]
        if node.op_type == "LayerNormalization" and (gated := _gated_norm(node, made)):
            del nodes[node.input[0]]  # the sum, which the operator returns
            replacements = gated
        elif attention and node.op_type == "Reshape" and (mixed := _self_attention(node, made)):
            replacements = mixed
        nodes |= {each.output[0]: each for each in replacements}
    keep_nodes(model, nodes.values())
    drop_unused(model)
    import_domains(model, DOMAIN, MICROSOFT)
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
    node: Node | None = attention
    while node is not None and node.op_type != "Gemm":
        node = made.get(node.input[0])
    if node is None or len(node.input) < 3:  # without a bias there is none to add
        return []
    entry = made[node.input[0]]  # [B, tokens, D] as rows
    operands = [_apart(node.output[0]), node.input[2], entry.input[0]]
    heads = next(attribute.i for attribute in attention.attribute if attribute.name == "num_heads")
    outputs = [rows.output[0]]
    return [_product(node), helper.make_node("SelfAttention", operands, outputs, domain=DOMAIN, num_heads=heads)]


def _product(gemm: Node) -> Node:
    turned = next((attribute.i for attribute in gemm.attribute if attribute.name == "transB"), 0)
    inputs, outputs = gemm.input[:2], [_apart(gemm.output[0])]
    return helper.make_node("FusedMatMul", inputs, outputs, domain=MICROSOFT, transB=turned)


def _apart(name: str) -> str:
    return f"{name} before its bias"
