"""Where tensors lie in a shared region."""

import torch

from diffes.backends.remote.memory import layout


def test_tensors_lie_one_after_another_each_aligned() -> None:
    inputs = {"latents": torch.zeros(3, 5), "labels": torch.zeros(2, dtype=torch.int64)}
    sources, targets, size = layout(inputs, {"prediction": (33,), "images": (1,)})
    assert sources == {"latents": 0, "labels": 64}
    assert targets == {"prediction": 128, "images": 128 + 192}
    assert size == 128 + 192 + 64


def test_nothing_takes_no_room() -> None:
    assert layout({}, {}) == ({}, {}, 0)
