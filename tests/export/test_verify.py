"""Verification fails loudly on a graph that computes something else than its module."""

import pytest
import torch
from torch import Tensor, nn

from diffes.bundle import Bundle
from diffes.errors import BundleError
from diffes.rollout import seeded_noise
from export.verify import verify_graph


class Off(nn.Module):
    """A module whose output is off by so much."""

    def __init__(self, module: nn.Module, by: float) -> None:
        super().__init__()
        self.module, self.by = module, by

    def forward(self, *inputs: Tensor) -> Tensor:
        out: Tensor = self.module(*inputs)
        return out + self.by


@pytest.fixture(scope="module")
def inputs(tiny_bundle: Bundle) -> dict[str, Tensor]:
    shapes = tiny_bundle.architecture.condition_shapes()
    conditions = {name: torch.ones(3, *shape) for name, shape in shapes.items()}
    return {"latents": seeded_noise(range(3), (3, 8, 8)), **conditions}


def test_a_right_graph_is_told_by_its_small_error(tiny_bundle: Bundle, inputs: dict[str, Tensor]) -> None:
    for subgraph in tiny_bundle.manifest.subgraphs:
        module = tiny_bundle.architecture.denoiser(subgraph.plan, tiny_bundle.weights(subgraph))
        assert (
            verify_graph(tiny_bundle.folder / subgraph.file, module, inputs, subgraph.prefixes, tiny_bundle.blob) < 1e-4
        )


@pytest.mark.parametrize("by", [0.01, -0.01, float("nan")])
def test_a_graph_that_differs_is_refused(tiny_bundle: Bundle, inputs: dict[str, Tensor], by: float) -> None:
    subgraph = tiny_bundle.manifest.subgraphs[0]
    module = tiny_bundle.architecture.denoiser(subgraph.plan, tiny_bundle.weights(subgraph))
    with pytest.raises(BundleError, match="does not compute.*expected a difference of at most.*found"):
        verify_graph(tiny_bundle.folder / subgraph.file, Off(module, by), inputs, subgraph.prefixes, tiny_bundle.blob)
