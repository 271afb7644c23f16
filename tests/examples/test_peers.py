"""Processes that share a batch. That they train as one does is in test_train_cifar10_dit.py."""

import pytest
import torch
from peers import Peers


def test_every_row_of_a_batch_belongs_to_one_process() -> None:
    batch = torch.arange(8)
    parts = [Peers(rank, 4).part(batch) for rank in range(4)]
    assert {len(part) for part in parts} == {2}
    assert sorted(torch.cat(parts).tolist()) == batch.tolist()


def test_each_process_has_a_gpu_of_its_own_unless_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert Peers(7, 8).device("cuda") == torch.device("cuda", 3)
    assert Peers(7, 8).device("cuda:1") == torch.device("cuda", 1)
    assert Peers(7, 8).device("cpu") == torch.device("cpu")


def test_alone_nothing_is_exchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with Peers.gathered() as alone:
        value = torch.tensor([1.0, 2.0])
        alone.average([value])
        assert alone.first
        assert alone.agreed(0.25) == 0.25
        assert value.tolist() == [1.0, 2.0]
