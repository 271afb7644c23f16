"""Run every exported graph with ONNX Runtime and compare it with the torch module it came from."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path

import onnxruntime
import torch
from torch import Tensor, nn

from diffes.backends.sessions import ERRORS_ONLY, open_session, own_memory, run_session
from diffes.blob import Blob
from diffes.errors import BundleError
from diffes.graphs import read_graph
from diffes.manifest import PrefixSpec
from diffes.pruning.prefix import Prefix
from export.widen import NARROW, Widened, widened

TOLERANCE = 1e-4  # of the largest output: float32 sums in another order

_Run = Callable[[Mapping[str, Tensor]], list[Tensor]]


def verify_graph(
    path: Path, module: nn.Module, inputs: Mapping[str, Tensor], prefixes: Mapping[str, PrefixSpec], blob: Blob
) -> float:
    """Largest absolute difference on the given inputs, in float32; BundleError beyond TOLERANCE of the largest output.

    A graph of 16-bit numbers is compared in float32 on its rounded weights (export/widen.py).
    """
    if _is_narrow(module, inputs):
        stored = {name: Prefix(prefix.tensor, prefix.rows).of(blob) for name, prefix in prefixes.items()}
        return _compare(path.name, _widened(path, stored), module, inputs)
    session = open_session(path, "cpu", threads=None)
    return _compare(path.name, lambda given: run_session(session, given), module, inputs)


def verify_network(path: Path, module: nn.Module, inputs: Mapping[str, Tensor]) -> float:
    """The same of a graph whose weights are inputs: it is fed the module's."""
    weights = dict(module.named_parameters())
    if _is_narrow(module, inputs):
        return _compare(path.name, _widened(path, weights), module, inputs)
    session = open_session(path, "cpu", threads=None)
    return _compare(path.name, lambda given: run_session(session, {**given, **weights}), module, inputs)


def _is_narrow(module: nn.Module, inputs: Mapping[str, Tensor]) -> bool:
    return any(value.dtype in NARROW for value in (*inputs.values(), *module.parameters()))


def _compare(name: str, run: _Run, module: nn.Module, inputs: Mapping[str, Tensor]) -> float:
    given = {name: value.float() if value.is_floating_point() else value for name, value in inputs.items()}
    with torch.inference_mode(), Widened() if _is_narrow(module, inputs) else nullcontext():
        expected = module(*given.values())
    expected = expected if isinstance(expected, tuple) else (expected,)
    worst = 0.0
    for wanted, found in zip(expected, run(given), strict=True):
        error = float((wanted - found).abs_().max())
        allowed = TOLERANCE * max(1.0, float(wanted.abs().max()))
        if not error <= allowed:  # NaN is refused too
            raise BundleError(
                f"{name} does not compute what torch computes (onnxruntime {onnxruntime.__version__})",
                expected=f"a difference of at most {allowed:.3g}",
                found=f"{error:.3g}",
            )
        worst = max(worst, error)
    return worst


def _widened(path: Path, weights: Mapping[str, Tensor]) -> _Run:
    """The graph in float32, fed its weights as they are stored."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    # no optimiser, which would undo what keeps casts apart
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False  # what was read is given back at once
    model = widened(read_graph(path), weights).SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    values = {name: own_memory(tensor.detach()) for name, tensor in weights.items()}

    def run(given: Mapping[str, Tensor]) -> list[Tensor]:
        feeds = {name: own_memory(value.contiguous()) for name, value in given.items()}
        return [torch.from_numpy(found.numpy()) for found in session.run_with_ort_values(None, {**feeds, **values})]

    return run
