"""Run every exported graph with ONNX Runtime and compare it with the torch module it came from."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from diffes.backends.sessions import open_session, run_session
from diffes.blob import Blob
from diffes.errors import BundleError
from diffes.graphs import read_graph
from diffes.manifest import PrefixSpec
from export.widen import widened, widened_weights

TOLERANCE = 1e-4  # of the largest output: float32 sums in another order


def verify_graph(
    path: Path, module: nn.Module, inputs: Mapping[str, Tensor], prefixes: Mapping[str, PrefixSpec], blob: Blob
) -> float:
    """Largest absolute difference on the given inputs, in float32; BundleError beyond TOLERANCE of the largest output.

    A graph of 16-bit numbers is compared in float32 on its rounded weights (export/widen.py).
    """
    if not _is_narrow(module, inputs):
        return _compare(path.name, open_session(path, "cpu", threads=None), module, inputs, {})
    session = _widened_session(path, widened_weights(prefixes, blob))
    return _compare(path.name, session, *_wide(module, inputs), {})


def verify_network(path: Path, module: nn.Module, inputs: Mapping[str, Tensor]) -> float:
    """The same of a graph whose weights are inputs: it is fed the module's."""
    if _is_narrow(module, inputs):
        module, inputs = _wide(module, inputs)
        session = _widened_session(path, {})
    else:
        session = open_session(path, "cpu", threads=None)
    return _compare(path.name, session, module, inputs, dict(module.named_parameters()))


def _is_narrow(module: nn.Module, inputs: Mapping[str, Tensor]) -> bool:
    return any(value.dtype in (torch.float16, torch.bfloat16) for value in (*inputs.values(), *module.parameters()))


def _wide(module: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[nn.Module, dict[str, Tensor]]:
    floats = {name: value.float() if value.is_floating_point() else value for name, value in inputs.items()}
    return copy.deepcopy(module).float(), floats


def _compare(
    name: str, session: Any, module: nn.Module, inputs: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> float:
    with torch.inference_mode():
        expected = module(*inputs.values())
    expected = expected if isinstance(expected, tuple) else (expected,)
    worst = 0.0
    for wanted, found in zip(expected, run_session(session, {**inputs, **weights}), strict=True):
        error = float((wanted - found).abs().max())
        allowed = TOLERANCE * max(1.0, float(wanted.abs().max()))
        if not error <= allowed:  # NaN is refused too
            raise BundleError(
                f"{name} does not compute what torch computes (onnxruntime {onnxruntime.__version__})",
                expected=f"a difference of at most {allowed:.3g}",
                found=f"{error:.3g}",
            )
        worst = max(worst, error)
    return worst


def _widened_session(path: Path, weights: Mapping[str, NDArray[np.float32]]) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(value) for value in weights.values()]
    options.add_external_initializers(list(weights), values)
    model = widened(read_graph(path)).SerializeToString()
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
