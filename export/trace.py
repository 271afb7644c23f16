"""From a torch module to an ONNX graph without weights.

The graph keeps every parameter's name as an initializer's. Nothing is optimised here: an optimiser replaces the -1s
of reshapes by the numbers of this plan, and then the graph would serve no other.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import onnx
import onnx_ir
import torch
from torch import Tensor, nn

from diffes.kernels import plain, traced_as
from export.contrib import HEAD_DIM
from export.rewrite import say_attention_scales, split_into_tensors

OPSET = 23
TRACED_ROWS = 2  # of the example batch; torch.export takes a size of 0 or 1 for a constant


def trace(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    operators: ModuleType = plain,
    sides: int | None = None,
) -> onnx.ModelProto:
    """The module's graph in `operators` (plain: ONNX's own); every input's and output's leading axis is free.

    With `sides` so are those of latents, in multiples of it.
    """
    rows = torch.export.Dim("rows")
    free: dict[int, Any] = {0: rows}
    if sides is not None:
        high, wide = torch.export.Dim("high"), torch.export.Dim("wide")
        free |= {2: high if sides == 1 else sides * high, 3: wide if sides == 1 else sides * wide}
    with _quiet(), torch.no_grad(), traced_as(operators):
        program = torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            dynamo=True,
            optimize=False,
            opset_version=OPSET,
            dynamic_shapes=tuple(free if name == "latents" else {0: rows} for name in inputs),
            input_names=list(inputs),
            output_names=list(outputs),
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export gave no program")
    parameters = {name for name, _ in module.named_parameters()}
    for name, value in program.model.graph.initializers.items():
        if name in parameters:
            value.const_value = _elsewhere(value)
    model: onnx.ModelProto = program.model_proto
    split_into_tensors(model)
    say_attention_scales(model)
    _strip(model, parameters)
    return model


def _elsewhere(value: Any) -> Any:
    """A weight of the same type and shape without its numbers: a graph of billions of them would hold them all."""
    return onnx_ir.ExternalTensor("elsewhere", 0, 0, value.dtype, shape=value.shape, name=value.name)


def _strip(model: onnx.ModelProto, parameters: set[str]) -> None:
    """Drop what is of the tracing machine or of this plan only: stack traces, inferred shapes, weights."""
    model.doc_string = ""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]
    for node in model.graph.node:
        notes = [note for note in node.metadata_props if note.key == HEAD_DIM]
        del node.metadata_props[:]
        node.metadata_props.extend(notes)
        node.doc_string = ""
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
        value.doc_string = ""
    for tensor in model.graph.initializer:
        if tensor.name in parameters:
            tensor.ClearField("data_location")
            del tensor.external_data[:]


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's notes on itself; what it gets wrong, verification finds."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
