"""Run every exported graph with ONNX Runtime and compare it with the torch module it came from."""

from collections.abc import Mapping
from pathlib import Path

import onnxruntime
import torch
from torch import Tensor, nn

from diffes.backends.sessions import open_session, run_session
from diffes.errors import BundleError

TOLERANCE = 1e-4  # of the largest output: float32 sums in another order


def verify_graph(path: Path, module: nn.Module, inputs: Mapping[str, Tensor]) -> float:
    """Largest absolute difference on the given inputs; BundleError beyond TOLERANCE of the largest output."""
    return _compare(path, module, inputs, {})


def verify_network(path: Path, module: nn.Module, inputs: Mapping[str, Tensor]) -> float:
    """The same of a graph whose weights are inputs: it is fed the module's."""
    return _compare(path, module, inputs, dict(module.named_parameters()))


def _compare(path: Path, module: nn.Module, inputs: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> float:
    session = open_session(path, "cpu", threads=None)
    with torch.inference_mode():
        expected = module(*inputs.values())
    expected = expected if isinstance(expected, tuple) else (expected,)
    worst = 0.0
    for wanted, found in zip(expected, run_session(session, {**inputs, **weights}), strict=True):
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
