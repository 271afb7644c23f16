"""Errors of runtimes, real ones where this machine raises them."""

import pytest
import torch

from diffes.engine.failures import failure, is_out_of_memory
from diffes.errors import OutOfMemory

TOO_MUCH = 1 << 50


def raised_by_torch() -> RuntimeError:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(TOO_MUCH)
    return raised.value


def test_a_cpu_without_room_for_a_tensor_is_out_of_memory() -> None:
    assert is_out_of_memory(raised_by_torch())


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), OutOfMemory("no room", expected=1, found=0)]
)
def test_so_are_those_that_say_so_by_kind(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", [RuntimeError("shapes do not match"), ValueError("DefaultCPUAllocator")])
def test_others_are_not(error: Exception) -> None:
    assert not is_out_of_memory(error)


def test_a_failure_keeps_its_cause_and_says_where_it_was_unless_memory_was_short() -> None:
    cause = ValueError("odd")
    told = failure("the decoder failed", cause, "decode")
    assert (told.reason, told.__cause__) == ("decode", cause)
    assert "ValueError: odd" in str(told)
    assert failure("the decoder failed", raised_by_torch(), "decode").reason == "out_of_memory"
