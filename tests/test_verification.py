from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from diffes.backends import open_backend
from diffes.backends.torch import TorchBackend
from diffes.bundle import Bundle
from diffes.checkpoint import Checkpoint
from diffes.errors import BackendError
from diffes.pruning.calibration import Calibration
from diffes.verification import TOLERANCE, require_verified, verify
from export.job import export_bundle
from tests.bundles import levels_schedule


class Wrong(TorchBackend):
    """One subgraph's prediction is changed."""

    target = ""
    change = 0.0

    def denoise(self, subgraph: str, latents: Tensor, conditions: Mapping[str, Tensor]) -> Tensor:
        out = super().denoise(subgraph, latents, conditions)
        return out + self.change * out.abs().max() if subgraph == self.target else out


@pytest.mark.parametrize("name", ["onnxruntime", "torch"])
def test_a_right_backend_is_right_in_every_subgraph_that_a_sampler_visits(tiny_bundle: Bundle, name: str) -> None:
    backend = open_backend(name, tiny_bundle, "cpu", 1)
    found = verify(tiny_bundle, backend)
    require_verified(found, name)
    assert {graph.subgraph for graph in found} == {graph.id for graph in tiny_bundle.manifest.subgraphs}
    assert sum(graph.steps for graph in found) == 2 * 20  # of the dense schedule and the pruned one
    assert max(graph.error for graph in found) < TOLERANCE["float32"] / 10
    backend.close()


@pytest.mark.parametrize("change", [1e-2, -1e-2, float("nan")])
def test_a_backend_that_is_wrong_in_one_subgraph_is_named_with_it(tiny_bundle: Bundle, change: float) -> None:
    backend = Wrong(tiny_bundle)
    backend.target, backend.change = tiny_bundle.manifest.subgraphs[3].id, change
    found = verify(tiny_bundle, backend, images=1)
    assert [graph.subgraph for graph in found if not graph.good] == [backend.target]
    with pytest.raises(BackendError, match=f"1 of .* subgraphs differ.*in subgraph {backend.target}"):
        require_verified(found, "torch")


def test_a_narrow_bundle_is_compared_with_float32(
    tiny_checkpoint: Checkpoint, tiny_calibration: Calibration, tmp_path: Path
) -> None:
    schedule = levels_schedule(tiny_checkpoint, [(1, 1), (2, 0)])
    bundle = export_bundle(
        tiny_checkpoint, {"mixed": schedule}, "mixed", tiny_calibration, tmp_path / "b", dtype="bfloat16", verify=False
    )
    found = verify(bundle, open_backend("torch", bundle, "cpu", 1))
    require_verified(found, "torch")
    assert min(graph.error for graph in found) > TOLERANCE["float32"]
    assert torch.finfo(torch.bfloat16).eps < TOLERANCE["bfloat16"]
