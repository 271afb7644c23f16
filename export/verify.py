"""Run every exported graph with ONNX Runtime and compare it with the torch module it came from."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime
import torch
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
    narrow = any(value.dtype in (torch.float16, torch.bfloat16) for value in (*inputs.values(), *module.parameters()))
    if narrow:
        module = copy.deepcopy(module).float()
        inputs = {name: value.float() if value.is_floating_point() else value for name, value in inputs.items()}
        session = _widened_session(path, prefixes, blob)
    else:
        session = open_session(path, "cpu", threads=None)
    with torch.inference_mode():
        expected = module(*inputs.values())
    expected = expected if isinstance(expected, tuple) else (expected,)
    worst = 0.0
    for wanted, found in zip(expected, run_session(session, inputs), strict=True):
        error = float((wanted - found).abs().max())
        allowed = TOLERANCE * max(1.0, float(wanted.abs().max()))
        if not error <= allowed:  # NaN is refused too
            raise BundleError(
                f"{path.name} does not compute what torch computes (onnxruntime {onnxruntime.__version__})",
                expected=f"a difference of at most {allowed:.3g}",
                found=f"{error:.3g}",
            )
        worst = max(worst, error)
    return worst


def _widened_session(path: Path, prefixes: Mapping[str, PrefixSpec], blob: Blob) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    weights = widened_weights(prefixes, blob)
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(value) for value in weights.values()]
    options.add_external_initializers(list(weights), values)
    model = widened(read_graph(path)).SerializeToString()
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
