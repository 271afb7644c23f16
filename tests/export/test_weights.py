"""Weights of a bundle: each stored once, and read back from the file that holds them."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from diffes.blob import Blob, write_blob
from diffes.errors import BundleError
from export.weights import Weights


def gathered() -> tuple[Weights, dict[str, Tensor]]:
    tensors = {
        "a": torch.arange(12.0).view(3, 4),
        "same": torch.arange(12.0).view(3, 4),
        "nan": torch.tensor([torch.nan]),
    }
    weights = Weights(torch.float32)
    for name, tensor in tensors.items():
        weights.add(name, tensor)
    return weights, tensors


def test_equal_tensors_are_stored_once_and_found_by_either_name(tmp_path: Path) -> None:
    weights, tensors = gathered()
    assert list(weights.tensors) == ["a", "nan"]
    write_blob(tmp_path / "blob", weights.tensors, {})
    blob = Blob(tmp_path / "blob")
    found = weights.move_into(blob)
    assert list(found) == list(tensors)
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, tensors[name], rtol=0, atol=0, equal_nan=True)
    assert found["a"].data_ptr() == found["same"].data_ptr() == blob["a"].data_ptr()
    assert weights.tensors["a"].data_ptr() == blob["a"].data_ptr()


def test_a_file_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    weights, tensors = gathered()
    write_blob(tmp_path / "blob", {**weights.tensors, "a": tensors["a"] + 1e-6}, {})
    with pytest.raises(BundleError, match="does not hold what was written to it: expected the bytes of a"):
        weights.move_into(Blob(tmp_path / "blob"))


def test_a_tensor_can_be_stored_in_a_type_of_its_own() -> None:
    weights = Weights(torch.float16)
    weights.add("half", torch.ones(2))
    weights.add("whole", torch.ones(2), torch.float32)
    assert {name: tensor.dtype for name, tensor in weights.tensors.items()} == {
        "half": torch.float16,
        "whole": torch.float32,
    }
