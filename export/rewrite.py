"""Graph rewrites: the same function in operators that read weights where they lie."""

from collections import defaultdict

import onnx

from diffes.nodes import MICROSOFT, drop_unused, import_domains, keep_nodes


def use_stored_layouts(model: onnx.ModelProto) -> None:
    """Replace MatMul(x, Transpose(weight)) by FusedMatMul(x, weight, transB=1), in place."""
    weights = {tensor.name for tensor in model.graph.initializer}
    transposed = {
        node.output[0]: node.input[0]
        for node in model.graph.node
        if node.op_type == "Transpose" and node.input[0] in weights and _swaps_two_axes(node)
    }
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.input[1] in transposed:
            node.input[1] = transposed[node.input[1]]
            node.op_type, node.domain = "FusedMatMul", MICROSOFT
            node.attribute.append(onnx.helper.make_attribute("transB", 1))
    import_domains(model, MICROSOFT)
    drop_unused(model)


def split_into_tensors(model: onnx.ModelProto) -> None:
    """Replace SplitToSequence and the SequenceAts that read it by one Split, in place; sequences are rarely supported.

    torch writes `split` with parts of one size that way. The split tensor's shape must be in the graph.
    """
    constants = {node.output[0]: node for node in model.graph.node if node.op_type == "Constant"}
    shapes = {value.name: value.type.tensor_type.shape for value in (*model.graph.value_info, *model.graph.input)}
    parts: dict[str, dict[int, str]] = defaultdict(dict)
    for node in model.graph.node:
        if node.op_type == "SequenceAt":
            parts[node.input[0]][_integer(constants[node.input[1]])] = node.output[0]
    for node in model.graph.node:
        if node.op_type == "SplitToSequence":
            axis = next(a.i for a in node.attribute if a.name == "axis")
            count = shapes[node.input[0]].dim[axis].dim_value // _integer(constants[node.input[1]])
            read = parts[node.output[0]]
            names = [read.get(index, f"{node.output[0]}_unread_{index}") for index in range(count)]
            node.CopyFrom(onnx.helper.make_node("Split", node.input[:1], names, axis=axis, num_outputs=count))
    keep_nodes(model, [node for node in model.graph.node if node.op_type != "SequenceAt"])
    drop_unused(model)


def _integer(constant: onnx.NodeProto) -> int:
    (attribute,) = constant.attribute
    value = onnx.helper.get_attribute_value(attribute)
    return int(onnx.numpy_helper.to_array(value)) if isinstance(value, onnx.TensorProto) else int(value)


def say_attention_scales(model: onnx.ModelProto) -> None:
    """Write Attention's default scale, 1 / sqrt(head size), into every node that has none, in place.

    What spells attention out later no longer finds the head size, which must be in the graph's shapes now.
    """
    sizes = {value.name: value.type.tensor_type.shape for value in model.graph.value_info}
    for node in model.graph.node:
        if node.op_type == "Attention" and not any(attribute.name == "scale" for attribute in node.attribute):
            head_size = sizes[node.input[0]].dim[-1].dim_value
            node.attribute.append(onnx.helper.make_attribute("scale", head_size**-0.5))


def merge_equal_nodes(model: onnx.ModelProto) -> None:
    """Compute once what several nodes compute from the same inputs, in place; constants above all."""
    known: dict[bytes, onnx.NodeProto] = {}
    renamed: dict[str, str] = {}
    kept = []
    for node in model.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        first = known.setdefault(_meaning(node), node)
        if first is node:
            kept.append(node)
        else:
            renamed.update(zip(node.output, first.output, strict=True))
    for output in model.graph.output:
        if output.name in renamed:
            raise ValueError(f"output {output.name} is computed twice")
    keep_nodes(model, kept)


def _meaning(node: onnx.NodeProto) -> bytes:
    """What a node computes: everything but its own and its outputs' names."""
    anonymous = onnx.NodeProto()
    anonymous.CopyFrom(node)
    anonymous.ClearField("name")
    anonymous.output[:] = ["" for _ in node.output]
    meaning: bytes = anonymous.SerializeToString(deterministic=True)
    return meaning


def _swaps_two_axes(node: onnx.NodeProto) -> bool:
    permutations = [list(attribute.ints) for attribute in node.attribute if attribute.name == "perm"]
    return permutations == [[1, 0]]
