"""A U-Net's whole step in the operators of a GPU."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not made for this platform")

from diffes.architectures.unet import UNet
from diffes.kernels import cuda, traced_as
from tests.architectures.kit import Subject, mixed_plan
from tests.architectures.tiny import UNETS, tiny_unet
from tests.kernels.some import DEVICE


def first_of(_what: str, candidates: Mapping[str, Callable[[], Any]]) -> Any:
    return next(iter(candidates.values()))()


@pytest.mark.filterwarnings("ignore:overflow encountered in exp")  # of the interpreter; exp of it is 1 / inf
@torch.no_grad()
def test_kernels_between_products_and_convolutions_compute_the_plain_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "fastest", first_of)
    made = tiny_unet(**UNETS["small"])
    subject = Subject.of(made, UNet.from_config(made.config))
    half = {name: tensor.to(DEVICE, torch.float16) for name, tensor in subject.weights.items()}
    latents, conditions = subject.latents(), subject.conditions()
    placed = {name: value.to(DEVICE, torch.float16) for name, value in conditions.items()}
    for plan in (subject.architecture.dense, mixed_plan(subject.architecture)):
        expected = subject.denoiser(plan)(latents, **conditions)
        with traced_as(cuda):
            found = subject.denoiser(plan, half)(latents.to(DEVICE, torch.float16), **placed)
        assert (found.cpu().float() - expected).abs().max() <= 0.01 * expected.abs().max()
